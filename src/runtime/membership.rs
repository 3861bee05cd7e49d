//! Which participant the calling thread is. A process attaches once (start, run, attach, a loop);
//! then each of its threads becomes a participant by itself at its first call that needs one, and
//! leaves when the thread ends. A child forked without attaching is recognised by the identity
//! page, which the kernel wiped.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use crate::pure::error::{Error, Result};
use crate::roles::context::Context;
use crate::roles::failure;
use crate::roles::member::Member;
use crate::sync::{AtomicU64, Ordering};
use crate::sys;

struct Entry {
    context: Weak<Context>,
    identity: u64,
    member: Rc<Member>,
    /// A worker's membership ends with the worker, not with the thread.
    ours: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(context) = self.context.upgrade()
            && self.ours
        {
            // Also after the process detached: the number would stay taken for ever. In a forked
            // child it is the parent's, and stays. The thread may be ending: there nobody catches a panic.
            let leave = || self.member.leave(&context);
            if self.member.failed.get() || failure::caught(leave).is_none() {
                let _ = failure::caught(|| failure::die(&context, &self.member));
            }
        }
    }
}

thread_local! {
    static MEMBERS: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// How a process takes part: pid (32) | number of the attachment (16) | the host attached it (1) |
/// roles that run in it (15). One word, because a role may end while another thread begins one.
#[derive(Clone, Copy)]
struct Attachment(u64);

const BY_HOST: u64 = 1 << 15;
const ROLES: u64 = BY_HOST - 1;

/// Tells one attachment of a process from another.
static ATTACHMENTS: AtomicU64 = AtomicU64::new(1);

impl Attachment {
    /// A new one when `word` is none.
    fn of_or_new(word: u64) -> Attachment {
        if word != 0 {
            return Attachment(word);
        }
        let number = ATTACHMENTS.fetch_add(1, Ordering::SeqCst) & 0xFFFF;
        Attachment((sys::process::pid() as u64) << 32 | number << 16)
    }
    fn roles(self) -> u64 {
        self.0 & ROLES
    }
    /// None when nothing is left that the process takes part for.
    fn or_none(self) -> u64 {
        if self.0 & (BY_HOST | ROLES) == 0 {
            0
        } else {
            self.0
        }
    }
}

/// The present attachment, 0: none.
fn identity(context: &Context) -> u64 {
    context.identity.get() >> 16
}

pub fn is_attached(context: &Context) -> bool {
    context.identity.get() != 0
}

/// The host attaches this process; the calling thread takes part from now on.
pub fn attach(context: &Arc<Context>) -> Result<()> {
    // Held like a role meanwhile: what fails ends nothing that another thread has begun.
    let _held = begin_role(context, false)?;
    current(context)?;
    let _ = context.identity.update(|word| Some(word | BY_HOST));
    Ok(())
}

/// The end of `attach`. `Role`: a role runs in this process.
pub fn detach(context: &Arc<Context>) -> Result<()> {
    let ended = context.identity.update(|word| match Attachment(word) {
        attached if word != 0 && attached.roles() == 0 => {
            Some(Attachment(word & !BY_HOST).or_none())
        }
        _ => None,
    });
    match ended {
        Ok(_) => {
            exit(context);
            Ok(())
        }
        Err(0) => Err(Error::NotAttached),
        Err(_) => Err(Error::Role),
    }
}

/// A role that runs in this process. The process takes part for its time; when the last one ends it
/// is as before the first, unless the host attached it as well.
pub struct RoleHeld {
    context: Arc<Context>,
    identity: u64,
}

/// `alone`: the role wants a process that takes no part yet. `Role`: it does already.
pub fn begin_role(context: &Arc<Context>, alone: bool) -> Result<RoleHeld> {
    let more = |word: u64| {
        let attachment = Attachment::of_or_new(word);
        let may = (word == 0 || !alone) && attachment.roles() < ROLES;
        may.then_some(attachment.0 + 1)
    };
    context.identity.update(more).map_err(|_| Error::Role)?;
    Ok(RoleHeld {
        context: context.clone(),
        identity: identity(context),
    })
}

impl RoleHeld {
    /// False in a child that was forked since: the role is its parent's.
    pub fn is_ours(&self) -> bool {
        self.identity == identity(&self.context)
    }
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }
    /// The attachment it belongs to.
    pub fn identity(&self) -> u64 {
        self.identity
    }
}

impl Drop for RoleHeld {
    fn drop(&mut self) {
        let less = |word: u64| {
            (word >> 16 == self.identity && Attachment(word).roles() > 0)
                .then(|| Attachment(word - 1).or_none())
        };
        let _ = self.context.identity.update(less);
    }
}

/// The threads of `start` are this attachment's.
pub fn is_identity(context: &Context, of: u64) -> bool {
    of != 0 && of == identity(context)
}

/// The calling thread's membership; made at the first call.
pub fn current(context: &Arc<Context>) -> Result<Rc<Member>> {
    if let Some(member) = existing(context) {
        // Only in the callback in which it met a bug.
        return if member.failed.get() {
            Err(Error::Panic)
        } else {
            Ok(member)
        };
    }
    if !is_attached(context) {
        return Err(Error::NotAttached);
    }
    let member = Member::join(context, 0)?;
    let announce = || member.announce(context, sys::clock::monotonic_ms());
    if failure::caught(announce).is_none() {
        failure::die(context, &member);
        return Err(Error::Panic);
    }
    if !enter(context, &member, true) {
        // The thread is ending: its thread-local values are gone already.
        member.leave(context);
        return Err(Error::Role);
    }
    Ok(member)
}

/// The calling thread's membership, if it has one.
pub fn existing(context: &Arc<Context>) -> Option<Rc<Member>> {
    let identity = identity(context);
    if identity == 0 {
        return None;
    }
    MEMBERS
        .try_with(|members| {
            members
                .borrow()
                .iter()
                .find(|e| e.identity == identity && e.is_of(context))
                .map(|e| e.member.clone())
        })
        .ok()
        .flatten()
}

/// The calling thread runs a callback of this instance.
pub fn in_callback(context: &Arc<Context>) -> bool {
    existing(context).is_some_and(|member| member.in_callback.get())
}

/// Makes `member` the calling thread's own: a worker's, so that what its callbacks send is sent
/// by the worker.
pub fn enter_worker(context: &Arc<Context>, member: &Rc<Member>) {
    if !existing(context).is_some_and(|now| Rc::ptr_eq(&now, member)) {
        enter(context, member, false);
    }
}

/// A call of this thread met a bug, and which instance it was for is not known any more: all that the thread
/// takes part as ends there. A worker, and who is in a callback, is still in use further out and ends as
/// soon as it comes back there; a worker of the host's own loop is woken for that.
pub fn fail() {
    let _ = MEMBERS.try_with(|members| {
        for e in members.borrow().iter() {
            e.member.failed.set(true);
            e.member.wake_fd().notify();
        }
    });
    replace(
        |e| e.ours && e.member.failed.get() && !e.member.in_callback.get(),
        None,
    );
}

/// The worker has ended.
pub fn leave_worker(member: &Rc<Member>) {
    replace(|e| Rc::ptr_eq(&e.member, member), None);
}

impl Entry {
    fn is_of(&self, context: &Arc<Context>) -> bool {
        core::ptr::eq(self.context.as_ptr(), Arc::as_ptr(context))
    }
}

/// False: the thread is ending and keeps nothing any more.
fn enter(context: &Arc<Context>, member: &Rc<Member>, ours: bool) -> bool {
    let entry = Entry {
        context: Arc::downgrade(context),
        identity: identity(context),
        member: member.clone(),
        ours,
    };
    // An instance that was freed is forgotten by the way.
    replace(
        |e| e.is_of(context) || e.context.strong_count() == 0,
        Some(entry),
    )
}

/// The calling thread takes part no longer.
pub fn exit(context: &Arc<Context>) {
    replace(|e| e.is_of(context), None);
}

fn replace(goes: impl Fn(&Entry) -> bool, comes: Option<Entry>) -> bool {
    let gone = MEMBERS.try_with(|members| {
        let mut members = members.borrow_mut();
        let (gone, stays): (Vec<Entry>, Vec<Entry>) =
            members.drain(..).partition(|entry| goes(entry));
        members.extend(stays);
        members.extend(comes);
        gone
    });
    // Dropped here, outside the borrow: leaving makes calls of its own.
    gone.is_ok()
}
