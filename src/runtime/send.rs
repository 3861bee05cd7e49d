//! Sending, by the calling thread as the participant that it is.

use super::instance::Instance;
use super::membership;
use crate::pure::error::{Error, Result};
use crate::pure::settings::LARGEST_MESSAGE_BYTES;
use crate::roles::sender::{self, MAX_PARTS};
use crate::roles::target::{Sent, Target};
use crate::roles::worker;
use crate::sys::clock::monotonic_ms;

/// As many as writev takes.
pub const MAX_PIECES: usize = 1024;

impl Instance {
    /// Looks at a call before anything is made of it. `length`: none if the lengths have no sum.
    pub fn check_send(&self, target: &Target, pieces: usize, length: Option<usize>) -> Result<()> {
        if pieces == 0 || pieces > MAX_PIECES || !target.is_sound() {
            return Err(Error::Argument);
        }
        // Lengths whose sum no message can have are some mistake.
        if length.is_none_or(|length| length > LARGEST_MESSAGE_BYTES as usize) {
            return Err(Error::TooLarge);
        }
        Ok(())
    }

    pub fn send(&self, target: Target, pieces: &[&[u8]], cookie: u64) -> Result<Sent> {
        let length = pieces
            .iter()
            .try_fold(0usize, |sum, piece| sum.checked_add(piece.len()));
        self.check_send(&target, pieces.len(), length)?;
        if pieces.len() > MAX_PARTS {
            return self.send_parts(target, &[&pieces.concat()], cookie);
        }
        self.send_parts(target, pieces, cookie)
    }

    /// After `check_send`. `parts`: at most MAX_PARTS.
    pub fn send_parts(&self, target: Target, parts: &[&[u8]], cookie: u64) -> Result<Sent> {
        if self.is_stopping() {
            return Err(Error::ShuttingDown);
        }
        let member = membership::current(&self.context)?;
        sender::send(&self.context, &member, target, parts, cookie)
    }

    /// The calling thread, which sends, follows what happened since its last call.
    pub fn refresh(&self) -> Result<()> {
        let member = membership::current(&self.context)?;
        member.refresh(&self.context, monotonic_ms());
        Ok(())
    }

    /// Tells the host here of log records that wait, at most 64; how many.
    pub fn drain_log(&self) -> Result<usize> {
        let member = membership::current(&self.context)?;
        if member.in_callback.get() {
            return Err(Error::Reentrant);
        }
        Ok(worker::drain_log(&self.context, &member))
    }
}
