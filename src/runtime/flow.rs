//! Back-pressure as the host uses it: what waits where it wants to send, and connections it does not
//! want to read for now.

use super::instance::Instance;
use crate::pure::addr::Addr;
use crate::pure::error::{Error, Result};
use crate::table::rare::mark;
use crate::table::slot::post;
use crate::table::{flow, index};

impl Instance {
    /// Queued bytes of one connection.
    pub fn conn_queued(&self, id: u32, remote: &Addr) -> Result<u64> {
        let segment = &self.context.segment;
        let (index, slot, generation) = segment.by_id(id).ok_or(Error::NoConnection)?;
        let (_, bytes) = flow::queued(segment, slot);
        let same = remote.is_none() || index::is_at(segment, index, slot, remote);
        if same && slot.owner().generation() == generation {
            Ok(bytes)
        } else {
            Err(Error::NoConnection)
        }
    }

    /// Queued bytes of all connections to `remote`.
    pub fn destination_queued(&self, remote: &Addr, local: &Addr) -> u64 {
        let segment = &self.context.segment;
        index::sum(segment, remote, local, |slot| flow::queued(segment, slot).1)
    }

    /// Stops (`on`) or resumes reading.
    pub fn conn_pause(&self, id: u32, on: bool) -> Result<()> {
        let segment = &self.context.segment;
        let (index, slot, generation) = segment.by_id(id).ok_or(Error::NoConnection)?;
        let rare = segment.rare(index).ok_or(Error::NoConnection)?;
        if !rare.mark(generation, mark::PAUSED, on) {
            return Err(Error::NoConnection);
        }
        // Who is about to read sees the mark; nobody has to be told of a pause.
        if !on {
            self.context.post(index, slot, post::RESUME);
        }
        Ok(())
    }
}
