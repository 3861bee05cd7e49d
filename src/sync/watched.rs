//! Atomics that tell of each step: before it, so that a scheduler can let another thread go first, and
//! after it, so that the process can end there. They are the processor's own in all else, and lie in
//! memory as those do.

use core::sync::atomic::{self, Ordering};

#[cfg(shuttle)]
use super::stop::step as before;
#[cfg(not(shuttle))]
fn before() {}

#[cfg(crash_points)]
use super::crash::passed as after;
#[cfg(shuttle)]
use super::stop::changed as after;

pub use atomic::fence;

macro_rules! watched {
    ($name:ident, $value:ty, $($rmw:ident)*) => {
        #[repr(transparent)]
        #[derive(Debug, Default)]
        pub struct $name(atomic::$name);

        // A crash point is where the step is asked for, not here.
        impl $name {
            pub const fn new(value: $value) -> Self {
                Self(atomic::$name::new(value))
            }
            pub fn load(&self, order: Ordering) -> $value {
                before();
                self.0.load(order)
            }
            #[cfg_attr(crash_points, track_caller)]
            pub fn store(&self, value: $value, order: Ordering) {
                before();
                self.0.store(value, order);
                after();
            }
            #[cfg_attr(crash_points, track_caller)]
            pub fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                done: Ordering,
                failed: Ordering,
            ) -> Result<$value, $value> {
                before();
                let result = self.0.compare_exchange(from, to, done, failed);
                if result.is_ok() {
                    after();
                }
                result
            }
            #[cfg_attr(crash_points, track_caller)]
            pub fn fetch_update(
                &self,
                done: Ordering,
                failed: Ordering,
                change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                before();
                let result = self.0.fetch_update(done, failed, change);
                if result.is_ok() {
                    after();
                }
                result
            }
            $(
                #[cfg_attr(crash_points, track_caller)]
                pub fn $rmw(&self, operand: $value, order: Ordering) -> $value {
                    before();
                    let was = self.0.$rmw(operand, order);
                    after();
                    was
                }
            )*
        }
    };
}
watched!(AtomicU32, u32, swap fetch_or fetch_and fetch_add fetch_sub fetch_max);
watched!(AtomicU64, u64, swap fetch_or fetch_and fetch_add fetch_sub fetch_max);
watched!(AtomicI32, i32, swap fetch_or fetch_and fetch_add fetch_sub fetch_max);
