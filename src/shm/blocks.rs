//! P7, the block pool: fixed blocks that hold queued messages, partial messages and notices.
//!
//! Invariants:
//! BLK-1 allocation IS the swap of the stamp from FREE to private(p); there is no free list. The
//!       bitmap `used` beside the blocks is a hint: a bit that lies costs a probe, never a block for
//!       ever (recovery sets it right);
//! BLK-2 a block's bytes and links are written only by whom its stamp names, and read by others only
//!       after a sequentially consistent step that gave it to them (gate push, dial push, owner word);
//! BLK-3 block 0 is never given out, so that index 0 can mean none;
//! BLK-4 a block's bit in `touched` is set before its first allocation and never cleared. Whoever
//!       looks at all blocks looks at these: reading any other would make the kernel give it memory.
//!
//! A message is a chain of blocks; its first block carries what is known of it and becomes its
//! failure report, so that reporting cannot fail for want of memory.

use core::cell::UnsafeCell;

use super::region::{Shared, shared};
use crate::pure::words::{BlockUse, Holder, Stamp};
use crate::sync::{AtomicU32, AtomicU64, Ordering, Word};

pub const BLOCK_BYTES: usize = 2048;
pub const PAYLOAD: usize = BLOCK_BYTES - 128;

/// A block's head. Beyond `stamp`, `next` and `used`, the fields mean something in a message's
/// first block only.
#[repr(C, align(64))]
pub struct Head {
    pub stamp: AtomicU64,
    /// Next block of the same message.
    pub next: AtomicU32,
    /// Bytes used in this block.
    pub used: AtomicU32,
    /// Next message: below in an inbox or dial list, after in a queue or notice list.
    pub link: AtomicU32,
    /// Bytes of the message.
    pub length: AtomicU32,
    /// Bytes of this message and of all below it in the inbox, and a mark: see `table::inbox`.
    pub inbox_bytes: AtomicU32,
    /// Flags of the send call.
    pub flags: AtomicU32,
    pub cookie: AtomicU64,
    /// Bytes the kernel has taken.
    pub written: AtomicU32,
    /// Sender's participant number.
    pub origin: AtomicU32,
    pub reason: AtomicU32,
    pub errno: AtomicU32,
    /// Public id of the connection it was for, 0: none yet.
    pub conn_id: AtomicU32,
    /// `NoticeKind` as a number.
    pub kind: AtomicU32,
    pub remote: [AtomicU32; 6],
    pub local: [AtomicU32; 6],
    /// The send's hash, on the dial list.
    pub hash: AtomicU32,
    /// A block of a message that is partly written, and the bytes of the message before it, all written:
    /// where the walk to what is left may begin. 0: at the first.
    pub at_block: AtomicU32,
    pub at_bytes: AtomicU32,
}
const _: () = assert!(size_of::<Head>() == 128);

#[repr(C, align(64))]
pub struct Block {
    pub head: Head,
    payload: Payload,
}
const _: () = assert!(size_of::<Block>() == BLOCK_BYTES);

#[repr(transparent)]
struct Payload(UnsafeCell<[u8; PAYLOAD]>);
// SAFETY: BLK-2: only the participant the stamp names touches the bytes, or readers after it gave
// the block away.
unsafe impl Sync for Payload {}

shared!(Block);
const fn assert_shared<T: Shared>() {}
const _: () = assert_shared::<Block>();

#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    pub blocks: &'a [Block],
    /// A bit for each block: in use. A hint.
    pub used: &'a [AtomicU64],
    /// A bit for each block: was in use (BLK-4).
    pub touched: &'a [AtomicU64],
    /// Number of participants: spreads where each begins to look.
    pub participants: u32,
}

impl<'a> Blocks<'a> {
    pub fn head(&self, index: u32) -> Option<&'a Head> {
        if index == 0 {
            return None;
        }
        self.blocks.get(index as usize).map(|block| &block.head)
    }

    fn set_hint(&self, index: u32, on: bool) {
        if let Some(word) = self.used.get(index as usize / 64) {
            let bit = 1u64 << (index % 64);
            if on {
                word.fetch_or(bit, Ordering::SeqCst);
            } else {
                word.fetch_and(!bit, Ordering::SeqCst);
            }
        }
    }

    /// One block, private to `me`. Looks from the participant's own region on, lowest first, so
    /// that few pages of the pool are ever touched; visits each hint word at most once.
    pub fn alloc(&self, me: Holder) -> Option<u32> {
        let mut block = None;
        self.alloc_some(me, 1, |index| block = Some(index));
        block
    }

    /// As many as there are, up to `wanted`, found in one walk.
    pub fn alloc_some(&self, me: Holder, mut wanted: usize, mut take: impl FnMut(u32)) {
        let words = self.used.len();
        let home = words * usize::from(me) / (self.participants as usize + 1);
        for i in 0..words {
            let w = (home + i) % words;
            let Some(hints) = self.used.get(w) else {
                return;
            };
            let mut taken = hints.load_sync();
            while taken != u64::MAX {
                if wanted == 0 {
                    return;
                }
                let bit = taken.trailing_ones();
                taken |= 1 << bit;
                let index = (w * 64) as u32 + bit;
                if self.take_free(index, me) {
                    wanted -= 1;
                    take(index);
                }
            }
        }
    }

    fn take_free(&self, index: u32, me: Holder) -> bool {
        let Some(head) = self.head(index) else {
            return false;
        };
        self.touch(index);
        let private = Stamp::private(me).0;
        let free = head
            .stamp
            .compare_exchange(Stamp::FREE.0, private, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok();
        if free {
            self.set_hint(index, true);
            head.next.set(0);
            head.used.set(0);
            head.kind.set(0);
            head.at_block.set(0);
        }
        free
    }

    /// Gives one block back. By whom its stamp names.
    pub fn free(&self, index: u32) {
        if let Some(head) = self.head(index) {
            // The hint is cleared before the stamp: in the other order a new owner's hint could be
            // cleared by us.
            self.set_hint(index, false);
            head.stamp.store_sync(Stamp::FREE.0);
        }
    }

    fn touch(&self, index: u32) {
        if let Some(word) = self.touched.get(index as usize / 64) {
            let bit = 1u64 << (index % 64);
            if word.load_sync() & bit == 0 {
                word.fetch_or(bit, Ordering::SeqCst);
            }
        }
    }

    /// The blocks that were ever in use.
    pub fn touched(&self) -> impl Iterator<Item = u32> + use<'a> {
        let words = self.touched;
        words.iter().enumerate().flat_map(|(w, word)| {
            let mut bits = word.load_sync();
            core::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros())?;
                bits &= bits - 1;
                Some((w * 64) as u32 + bit)
            })
        })
    }

    /// Takes a chain as `me`'s own. The first block last: until then its stamp says whose the chain
    /// is, so that a death in here leaves it either as it was or all to the recovery of `me`.
    pub fn take_chain(&self, first: u32, me: Holder) {
        let private = Stamp::private(me).0;
        for index in self.chain(first).skip(1) {
            if let Some(head) = self.head(index) {
                head.stamp.store_sync(private);
            }
        }
        if let Some(head) = self.head(first) {
            head.stamp.store_sync(private);
        }
    }

    /// Gives a chain back, as its owner `me`; bounded, a scribbled link cannot make it loop (P12).
    pub fn free_chain(&self, first: u32, me: Holder) {
        self.take_chain(first, me);
        let mut index = first;
        for _ in 0..self.blocks.len() {
            let Some(head) = self.head(index) else { return };
            let next = head.next.get();
            self.free(index);
            index = next;
        }
    }

    /// The blocks of a message, first to last; bounded.
    pub fn chain(&self, first: u32) -> impl Iterator<Item = u32> + use<'a> {
        let this = *self;
        let mut index = first;
        let mut left = self.blocks.len();
        core::iter::from_fn(move || {
            let head = this.head(index)?;
            left = left.checked_sub(1)?;
            let current = index;
            index = head.next.get();
            Some(current)
        })
    }

    pub fn stamp_chain(&self, first: u32, stamp: Stamp) {
        for index in self.chain(first) {
            if let Some(head) = self.head(index) {
                head.stamp.store_sync(stamp.0);
            }
        }
    }

    /// Messages linked by `link` from `first` on; bounded.
    pub fn list(&self, first: u32) -> impl Iterator<Item = u32> + use<'a> {
        let this = *self;
        let mut index = first;
        let mut left = self.blocks.len();
        core::iter::from_fn(move || {
            let head = this.head(index)?;
            left = left.checked_sub(1)?;
            let current = index;
            index = head.link.get();
            Some(current)
        })
    }

    /// The used bytes of a block, from `from` on.
    pub fn bytes(&self, index: u32, from: usize) -> &'a [u8] {
        let Some(block) = self.blocks.get(index as usize) else {
            return &[];
        };
        let used = (block.head.used.get() as usize).min(PAYLOAD);
        if from >= used {
            return &[];
        }
        // SAFETY: in bounds; the bytes were written before the block was given to the caller and
        // nobody writes them while the caller's role owns it (BLK-2).
        unsafe {
            core::slice::from_raw_parts(block.payload.0.get().cast::<u8>().add(from), used - from)
        }
    }

    /// Appends to a block; returns how many bytes fitted. By whom its stamp names.
    pub fn append(&self, index: u32, bytes: &[u8]) -> usize {
        let Some(block) = self.blocks.get(index as usize) else {
            return 0;
        };
        let used = (block.head.used.get() as usize).min(PAYLOAD);
        let n = bytes.len().min(PAYLOAD - used);
        // SAFETY: used + n <= PAYLOAD; the caller owns the block (BLK-2), `bytes` is not in it.
        unsafe {
            core::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                block.payload.0.get().cast::<u8>().add(used),
                n,
            );
        }
        block.head.used.set((used + n) as u32);
        n
    }

    /// Copies a whole message out.
    pub fn copy_chain(&self, first: u32, out: &mut Vec<u8>) {
        for index in self.chain(first) {
            out.extend_from_slice(self.bytes(index, 0));
        }
    }

    pub fn in_use(&self) -> u64 {
        self.used
            .iter()
            .map(|word| u64::from(word.load_sync().count_ones()))
            .sum()
    }

    /// Sets right what a dead participant left: blocks of which `lost` says so become free, and no hint
    /// hides a free one. Supervisor only; the living go on allocating and freeing meanwhile.
    pub fn recover(&self, mut lost: impl FnMut(u32, Stamp) -> bool) -> u32 {
        let mut freed = 0;
        for index in self.touched() {
            let Some(head) = self.head(index) else {
                continue;
            };
            let stamp = Stamp(head.stamp.load_sync());
            if stamp.usage() == BlockUse::Free {
                // Who takes it at this moment sets the hint after us; set by somebody who took it
                // before, it is cleared wrongly and costs a probe.
                self.set_hint(index, false);
            } else if lost(index, stamp) {
                self.free(index);
                freed += 1;
            }
            // A living owner's hint is its own business: set by us, it could come between the two
            // steps of its `free` and hide the block.
        }
        freed
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::shm::region::{Layout, Region};

    pub fn pool(count: usize, run: impl FnOnce(Blocks<'_>)) {
        let mut layout = Layout::default();
        let blocks = layout.span::<Block>(count);
        let [used, touched] = [(); 2].map(|()| layout.span::<AtomicU64>(count.div_ceil(64)));
        let region = Region::new("sipwire-test", &layout).unwrap();
        run(Blocks {
            blocks: region.slice(blocks),
            used: region.slice(used),
            touched: region.slice(touched),
            participants: 4,
        });
    }

    #[test]
    fn every_block_but_the_first_can_be_had_once() {
        pool(130, |pool| {
            let mut had: Vec<u32> = core::iter::from_fn(|| pool.alloc(3)).collect();
            assert_eq!(pool.in_use(), 129);
            had.sort_unstable();
            assert_eq!(had, (1..130).collect::<Vec<_>>());
            had.iter().for_each(|&b| pool.free(b));
            assert_eq!(pool.in_use(), 0);
            assert!(pool.alloc(1).is_some());
        });
    }

    #[test]
    fn a_lying_hint_gives_no_block_twice() {
        pool(64, |pool| {
            let block = pool.alloc(1).unwrap();
            pool.used[0].store_sync(0);
            let others: Vec<u32> = core::iter::from_fn(|| pool.alloc(2)).collect();
            assert!(!others.contains(&block));
            assert_eq!(others.len(), 62);
            let freed = pool.recover(|_, stamp| stamp.participant() == 2);
            assert_eq!(freed, 62);
            pool.free(block);
            assert_eq!(pool.in_use(), 0);
        });
    }

    #[test]
    fn only_blocks_that_were_in_use_are_looked_at() {
        pool(640, |pool| {
            assert_eq!(pool.touched().count(), 0);
            let had: Vec<u32> = (0..70).map_while(|_| pool.alloc(2)).collect();
            had.iter().for_each(|&b| pool.free(b));
            let mut looked = vec![];
            pool.head(had[0])
                .unwrap()
                .stamp
                .store_sync(Stamp::private(3).0);
            pool.recover(|index, _| {
                looked.push(index);
                true
            });
            assert_eq!(looked, [had[0]]);
            let mut touched: Vec<u32> = pool.touched().collect();
            touched.sort_unstable();
            let mut had = had;
            had.sort_unstable();
            assert_eq!(touched, had);
        });
    }

    #[test]
    fn a_hint_that_says_used_of_a_free_block_does_not_hide_it_for_ever() {
        pool(64, |pool| {
            let block = pool.alloc(1).unwrap();
            pool.free(block);
            pool.set_hint(block, true);
            pool.recover(|_, _| false);
            let had: Vec<u32> = core::iter::from_fn(|| pool.alloc(1)).collect();
            assert_eq!(had.len(), 63);
        });
    }

    #[test]
    fn threads_never_share_a_block() {
        pool(1024, |pool| {
            std::thread::scope(|scope| {
                for me in 1..=4u16 {
                    scope.spawn(move || {
                        for _ in 0..2_000 {
                            let Some(b) = pool.alloc(me) else { continue };
                            let head = pool.head(b).unwrap();
                            head.cookie.store_sync(u64::from(me));
                            std::hint::spin_loop();
                            assert_eq!(head.cookie.load_sync(), u64::from(me));
                            pool.free(b);
                        }
                    });
                }
            });
            assert_eq!(pool.in_use(), 0);
        });
    }

    #[test]
    fn bytes_come_back_whole_and_loops_in_links_end() {
        pool(16, |pool| {
            let (a, b) = (pool.alloc(1).unwrap(), pool.alloc(1).unwrap());
            let text: Vec<u8> = (0..3000u32).map(|i| i as u8).collect();
            let n = pool.append(a, &text);
            assert_eq!(n, PAYLOAD);
            assert_eq!(pool.append(b, &text[n..]), 3000 - PAYLOAD);
            pool.head(a).unwrap().next.set(b);
            let mut out = vec![];
            pool.copy_chain(a, &mut out);
            assert_eq!(out, text);
            pool.head(b).unwrap().next.set(a);
            assert_eq!(pool.chain(a).count(), 16);
        });
    }
}
