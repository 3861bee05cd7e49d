//! Reading an instance: connections, statistics. No lock, no membership needed; values are true
//! each for some instant of the call.

use super::instance::Instance;
use crate::pure::addr::Addr;
use crate::pure::error::{Error, Result};
use crate::pure::keepalive::{Agreed, Interval};
use crate::pure::reason::Reason;
use crate::roles::host::ConnInfo;
use crate::roles::info;
use crate::sync::Word;
use crate::sys;
use crate::table::index;
use crate::table::slot::post;

impl Instance {
    pub fn conn_info(&self, id: u32) -> Result<ConnInfo> {
        let (index, slot, generation) =
            self.context.segment.by_id(id).ok_or(Error::NoConnection)?;
        let info = info::of(
            &self.context,
            index,
            slot,
            generation,
            sys::clock::monotonic_ms(),
        );
        // The slot may have been freed and used again while we read it.
        if slot.owner().generation() != generation {
            Err(Error::NoConnection)
        } else {
            Ok(info)
        }
    }

    pub fn conn_find(&self, remote: &Addr, local: &Addr) -> Result<u32> {
        let found = index::find(&self.context.segment, remote, local).ok_or(Error::NoConnection)?;
        Ok(self.context.segment.id_of(found.slot, found.generation))
    }

    /// Up to `max` connections from `cursor` (0: the beginning) on; the cursor is 0 again at the end.
    pub fn conn_list(&self, cursor: &mut u32, max: usize) -> Vec<ConnInfo> {
        let segment = &self.context.segment;
        let now_ms = sys::clock::monotonic_ms();
        let mut out = Vec::new();
        for index in *cursor..segment.slots().len() as u32 {
            if out.len() >= max {
                *cursor = index;
                return out;
            }
            if let Some(slot) = segment.slot(index)
                && slot.is_open()
            {
                out.push(info::of(
                    &self.context,
                    index,
                    slot,
                    slot.owner().generation(),
                    now_ms,
                ));
            }
        }
        *cursor = 0;
        out
    }

    pub fn conn_close(&self, id: u32) -> Result<()> {
        let (index, slot, generation) =
            self.context.segment.by_id(id).ok_or(Error::NoConnection)?;
        slot.want(generation, Reason::Host, 0, false);
        self.context.post(index, slot, post::END);
        Ok(())
    }

    pub fn conn_set_user(&self, id: u32, user: u64) -> Result<()> {
        let (_, slot, _) = self.context.segment.by_id(id).ok_or(Error::NoConnection)?;
        slot.output.user.store_sync(user);
        Ok(())
    }

    pub fn conn_set_lifetime(&self, id: u32, lifetime_ms: u64) -> Result<()> {
        let (index, slot, _) = self.context.segment.by_id(id).ok_or(Error::NoConnection)?;
        slot.output
            .lifetime_ms
            .store_sync(u32::try_from(lifetime_ms).unwrap_or(u32::MAX));
        self.context.post(index, slot, post::TIMES);
        Ok(())
    }

    /// The client's pings (RFC 5626 4.4.1).
    pub fn conn_set_keepalive(&self, id: u32, interval: Interval) -> Result<()> {
        self.conn_agree(id, |agreed| agreed.with_interval(interval))
    }

    /// The peer's promise to ping (RFC 5626 5.4); 0: none.
    pub fn conn_set_flow_timer(&self, id: u32, flow_timer_ms: u32) -> Result<()> {
        self.conn_agree(id, |agreed| agreed.with_flow_timer(flow_timer_ms))
    }

    fn conn_agree(&self, id: u32, change: impl Fn(Agreed) -> Agreed) -> Result<()> {
        let segment = &self.context.segment;
        let (index, slot, generation) = segment.by_id(id).ok_or(Error::NoConnection)?;
        let rare = segment.rare(index).ok_or(Error::NoConnection)?;
        if !rare.agree(generation, change) {
            return Err(Error::NoConnection);
        }
        self.context.post(index, slot, post::TIMES);
        Ok(())
    }
}
