//! Which participant the calling thread is. A process attaches once (start, run, attach, a loop);
//! then each of its threads becomes a participant by itself at its first call that needs one, and
//! leaves when the thread ends. A child forked without attaching is recognised by the identity
//! page, which the kernel wiped.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use crate::pure::error::{Error, Result};
use crate::roles::context::Context;
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
            && context.identity.get() == self.identity
        {
            self.member.leave(&context);
        }
    }
}

thread_local! {
    static MEMBERS: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// Tells one attachment of a process from another.
static ATTACHMENTS: AtomicU64 = AtomicU64::new(1);

/// This process takes part from now on. False: it did already.
pub fn attach_process(context: &Context) -> bool {
    if context.identity.get() != 0 {
        return false;
    }
    let count = ATTACHMENTS.fetch_add(1, Ordering::SeqCst) & 0xFFFF_FFFF;
    context
        .identity
        .set((sys::process::pid() as u64) << 32 | count);
    true
}

pub fn is_attached(context: &Context) -> bool {
    context.identity.get() != 0
}

/// The calling thread's membership; made at the first call.
pub fn current(context: &Arc<Context>) -> Result<Rc<Member>> {
    if let Some(member) = existing(context) {
        return Ok(member);
    }
    if !is_attached(context) {
        return Err(Error::NotAttached);
    }
    let member = Member::join(context, 0, |_| true)?;
    enter(context, &member, true);
    Ok(member)
}

/// The calling thread's membership, if it has one.
pub fn existing(context: &Arc<Context>) -> Option<Rc<Member>> {
    let identity = context.identity.get();
    if identity == 0 {
        return None;
    }
    MEMBERS
        .try_with(|members| {
            members
                .borrow()
                .iter()
                .find(|e| {
                    e.identity == identity
                        && core::ptr::eq(e.context.as_ptr(), Arc::as_ptr(context))
                })
                .map(|e| e.member.clone())
        })
        .ok()
        .flatten()
}

/// Makes `member` the calling thread's own: a worker's, so that what its callbacks send is sent
/// by the worker.
pub fn enter_worker(context: &Arc<Context>, member: &Rc<Member>) {
    enter(context, member, false);
}

fn enter(context: &Arc<Context>, member: &Rc<Member>, ours: bool) {
    let entry = Entry {
        context: Arc::downgrade(context),
        identity: context.identity.get(),
        member: member.clone(),
        ours,
    };
    let _ = MEMBERS.try_with(|members| {
        let stale: Vec<Entry> = {
            let mut members = members.borrow_mut();
            let (stale, keep): (Vec<Entry>, Vec<Entry>) = core::mem::take(&mut *members)
                .into_iter()
                .partition(|e| core::ptr::eq(e.context.as_ptr(), Arc::as_ptr(context)));
            *members = keep;
            members.push(entry);
            stale
        };
        drop(stale);
    });
}

/// The calling thread takes part no longer.
pub fn exit(context: &Arc<Context>) {
    let _ = MEMBERS.try_with(|members| {
        let gone: Vec<Entry> = {
            let mut members = members.borrow_mut();
            let (gone, keep): (Vec<Entry>, Vec<Entry>) = core::mem::take(&mut *members)
                .into_iter()
                .partition(|e| core::ptr::eq(e.context.as_ptr(), Arc::as_ptr(context)));
            *members = keep;
            gone
        };
        drop(gone);
    });
}
