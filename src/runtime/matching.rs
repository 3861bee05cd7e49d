//! What the host says about which connection a send takes: aliases, suspects, flow tokens.

use super::instance::Instance;
use super::membership;
use crate::pure::error::{Error, Result};
use crate::pure::flow_token::Flow;
use crate::pure::words::GateWord;
use crate::roles::sender;
use crate::shm::counters::Counter;
use crate::shm::gate;
use crate::table::index::{self, Claim};
use crate::table::rare::mark;

impl Instance {
    pub fn conn_set_suspect(&self, id: u32, on: bool) -> Result<()> {
        let segment = &self.context.segment;
        let (index, _, generation) = segment.by_id(id).ok_or(Error::NoConnection)?;
        let marked = segment
            .rare(index)
            .is_some_and(|rare| rare.mark(generation, mark::SUSPECT, on));
        marked.then_some(()).ok_or(Error::NoConnection)
    }

    pub fn conn_add_alias(&self, id: u32, port: u16) -> Result<()> {
        let context = &self.context;
        if !context.live().accept_aliases {
            return Err(Error::AliasesOff);
        }
        if self.is_stopping() {
            return Err(Error::ShuttingDown);
        }
        let (index, slot, generation) = context.segment.by_id(id).ok_or(Error::NoConnection)?;
        if gate::load(&slot.output.gate).has(GateWord::CLOSING) {
            return Err(Error::NoConnection);
        }
        let alias = slot.remote().with_port(port);
        let claim = index::claim(&context.segment, index, &alias);
        if slot.owner().generation() != generation {
            return Err(Error::NoConnection);
        }
        let member = membership::current(context)?;
        match claim {
            // Not if another one that we asked for before is still on its way.
            Claim::Has if member.listed(context) == 0 => Ok(()),
            Claim::Has | Claim::Free { .. } => sender::post_alias(context, &member, id, alias),
            Claim::Taken => {
                member.count(context, Counter::AliasesRefused, 1);
                Err(Error::AliasTaken)
            }
        }
    }

    pub fn flow_token(&self, id: u32) -> Result<String> {
        let (index, _, generation) = self.context.segment.by_id(id).ok_or(Error::NoConnection)?;
        Ok(self.context.flow_key.token(index, generation))
    }

    pub fn flow_find(&self, token: &[u8]) -> Result<u32> {
        let segment = &self.context.segment;
        let (index, generation) = match self.context.flow_key.read(token) {
            Flow::Named { slot, generation } => (slot, generation),
            Flow::EarlierStart => return Err(Error::NoConnection),
            Flow::Forged => return Err(Error::BadToken),
        };
        let slot = segment.slot(index).ok_or(Error::NoConnection)?;
        let gate = gate::load(&slot.output.gate);
        let lives = slot.is_open()
            && slot.owner().generation() == generation
            && gate.generation() == generation
            && !gate.has(GateWord::CLOSING);
        lives
            .then(|| segment.id_of(index, generation))
            .ok_or(Error::NoConnection)
    }
}
