//! Models of the shared-memory protocols: the code of `shm/` and `table/` itself, run by a checker that tries
//! the orders in which threads can go. `--cfg loom`: each protocol alone, every order and every value that
//! the memory model allows a load to see. `--cfg shuttle`: all of them together, orders drawn at random.
//!
//! Every model has the step "this participant stops here for ever": it is run once for each change of a
//! shared word after which its victim can stop, and once with nobody stopping. What then holds is asserted
//! under the invariant's number (docs/internals.md).
//!
//! Run by `make models`; in the check with at most two preemptions, exhaustive in `make check-all`.

#[cfg(loom)]
mod explore;

#[cfg(loom)]
mod p1_gate;
#[cfg(loom)]
mod p2_mailbox;
#[cfg(loom)]
mod p3_handoff;
#[cfg(loom)]
mod p5_dial;
#[cfg(loom)]
mod p5_index;
#[cfg(loom)]
mod p7_blocks;
#[cfg(loom)]
mod texts;

#[cfg(shuttle)]
mod p8_death;
