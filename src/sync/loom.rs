//! Atomics for loom. They lie in memory as the processor's do, so that the segment keeps its layout; while
//! a model runs, each word is one of loom's, found by its address. It begins with what the memory holds, and
//! the memory stays as it is: every execution begins with the same.
//!
//! A word that several threads of a model use is to be touched before they start: loom takes its first
//! use for its making.
//!
//! loom knows a total order of fences only, not of accesses. So a sequentially consistent load is modelled
//! as fence and load, a store as store and fence, a read-modify-write with both: between any two of them in
//! one thread stands a fence, as on a processor without such accesses of its own. That is stronger than a store of ARM
//! before a relaxed one: that a model passes is no argument for weakening a store.

use core::sync::atomic::{self, Ordering};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::stop;

thread_local! {
    // loom runs all the threads of a model in one of the system's.
    static IN_MODEL: Cell<bool> = const { Cell::new(false) };
}

/// At the beginning (`true`) and at the end of each execution.
pub fn in_model(now: bool) {
    IN_MODEL.set(now);
    AtomicU32::forget_all();
    AtomicU64::forget_all();
    AtomicI32::forget_all();
}

pub fn fence(order: Ordering) {
    if IN_MODEL.get() {
        loom::sync::atomic::fence(order);
    } else {
        atomic::fence(order);
    }
}

fn fence_for(order: Ordering) {
    if order == Ordering::SeqCst {
        loom::sync::atomic::fence(order);
    }
}

macro_rules! modelled {
    ($name:ident, $value:ty, $words:ident, $($rmw:ident)*) => {
        thread_local! {
            static $words: RefCell<HashMap<usize, Rc<loom::sync::atomic::$name>>> = RefCell::default();
        }

        #[repr(transparent)]
        #[derive(Debug, Default)]
        pub struct $name(atomic::$name);

        impl $name {
            pub const fn new(value: $value) -> Self {
                Self(atomic::$name::new(value))
            }
            fn forget_all() {
                $words.with_borrow_mut(HashMap::clear);
            }
            fn modelled(&self) -> Option<Rc<loom::sync::atomic::$name>> {
                IN_MODEL.get().then(|| {
                    $words.with_borrow_mut(|words| {
                        let made = || Rc::new(loom::sync::atomic::$name::new(self.0.load(Ordering::Relaxed)));
                        words.entry(core::ptr::from_ref(self) as usize).or_insert_with(made).clone()
                    })
                })
            }
            pub fn load(&self, order: Ordering) -> $value {
                let Some(word) = self.modelled() else {
                    return self.0.load(order);
                };
                fence_for(order);
                word.load(order)
            }
            pub fn store(&self, value: $value, order: Ordering) {
                let Some(word) = self.modelled() else {
                    return self.0.store(value, order);
                };
                word.store(value, order);
                fence_for(order);
                stop::changed();
            }
            pub fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                done: Ordering,
                failed: Ordering,
            ) -> Result<$value, $value> {
                let Some(word) = self.modelled() else {
                    return self.0.compare_exchange(from, to, done, failed);
                };
                fence_for(done);
                let result = word.compare_exchange(from, to, done, failed);
                fence_for(done);
                if result.is_ok() {
                    stop::changed();
                }
                result
            }
            pub fn fetch_update(
                &self,
                done: Ordering,
                failed: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut now = self.load(failed);
                while let Some(next) = change(now) {
                    match self.compare_exchange(now, next, done, failed) {
                        Ok(was) => return Ok(was),
                        Err(other) => now = other,
                    }
                }
                Err(now)
            }
            $(
                pub fn $rmw(&self, operand: $value, order: Ordering) -> $value {
                    let Some(word) = self.modelled() else {
                        return self.0.$rmw(operand, order);
                    };
                    fence_for(order);
                    let was = word.$rmw(operand, order);
                    fence_for(order);
                    stop::changed();
                    was
                }
            )*
        }
    };
}
modelled!(AtomicU32, u32, WORDS_U32, swap fetch_or fetch_and fetch_add fetch_sub fetch_max);
modelled!(AtomicU64, u64, WORDS_U64, swap fetch_or fetch_and fetch_add fetch_sub fetch_max);
modelled!(AtomicI32, i32, WORDS_I32, swap fetch_or fetch_and fetch_add fetch_sub fetch_max);
