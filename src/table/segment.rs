//! The typed view of the segment: where everything is. Made once, before any fork; every
//! participant sees the same memory through its own copy of this value.

use crate::pure::addr::Addr;
use crate::pure::id::{IdLayout, previous_generation};
use crate::pure::proxy::Pair;
use crate::pure::settings::{LIVE_TEXTS, LIVE_WORDS, LONGEST_LIST, Settings};
use crate::pure::words::Holder;
use crate::shm::blocks::{Block, Blocks, PAYLOAD};
use crate::shm::counters::Counter;
use crate::shm::header::{Header, LAYOUT_VERSION, MAGIC, SHAPE_WORDS};
use crate::shm::log_ring::{LogHeader, LogRing, Record as LogRecord};
use crate::shm::mailbox::{self, Mailbox};
use crate::shm::participants::{Participants, Record};
use crate::shm::region::{Layout, Region, Span, shared};
use crate::shm::ring::{CAPACITY, Ring, RingEntry, RingHeader};
use crate::shm::texts::{Cell, SPARE_CELLS, TEXT_BYTES, Texts};
use crate::sync::{AtomicU32, AtomicU64, Word};
use crate::sys;
use crate::table::blacklist::Entry as BlacklistEntry;
use crate::table::listeners::{Record as ListenerRecord, SPARE_LISTENERS};
use crate::table::rare::Rare;
use crate::table::slot::{Slot, flag};
use crate::table::wire::Wire;

pub const BLACKLIST_ENTRIES: usize = 4096;
const _: () = assert!(LONGEST_LIST <= TEXT_BYTES);

/// What the supervisor and one worker know of each other.
#[repr(C, align(64))]
pub struct WorkerRecord {
    /// The worker's participant number, 0: none runs.
    pub participant: AtomicU32,
    /// By the worker.
    pub held: AtomicU32,
    pub messages: AtomicU64,
    /// By the supervisor.
    pub lends: AtomicU64,
    pub stalled: AtomicU32,
}
#[allow(unsafe_code)] // layout markers
mod marker {
    use super::{BlacklistEntry, LogHeader, LogRecord, WorkerRecord, shared};
    shared!(WorkerRecord, BlacklistEntry, LogHeader, LogRecord);
}

pub struct Segment {
    region: Region,
    layout: u64,
    header: Span<Header>,
    texts: Span<AtomicU64>,
    text_cells: Span<Cell>,
    listeners: Span<ListenerRecord>,
    participants: Span<Record>,
    workers: Span<WorkerRecord>,
    ring_headers: Span<RingHeader>,
    ring_entries: Span<RingEntry>,
    slots: Span<Slot>,
    rare: Span<Rare>,
    /// Empty when no listener speaks PROXY.
    wires: Span<Wire>,
    summary: Span<AtomicU64>,
    leaves: Span<AtomicU64>,
    buckets: Span<AtomicU32>,
    blacklist: Span<BlacklistEntry>,
    log_header: Span<LogHeader>,
    log_records: Span<LogRecord>,
    messages: Pool,
    partials: Pool,
    ids: IdLayout,
    /// Of the address index: strangers choose the addresses in it. Each process has its copy by fork.
    index_key: u64,
}

/// A pool of blocks: where its blocks and its two bitmaps are.
#[derive(Clone, Copy)]
struct Pool {
    blocks: Span<Block>,
    used: Span<AtomicU64>,
    touched: Span<AtomicU64>,
}

const MOST_BLOCKS: u32 = 0xFF_FFC0;

/// Whole words of the bitmaps.
fn blocks_of(wanted: usize) -> u32 {
    wanted.min(MOST_BLOCKS as usize).next_multiple_of(64) as u32
}

impl Pool {
    fn new(layout: &mut Layout, blocks: usize) -> Pool {
        Pool {
            used: layout.span(blocks / 64),
            touched: layout.span(blocks / 64),
            blocks: layout.span(blocks),
        }
    }
}

/// Messages wait in one pool and parked input in another, so that peers who do not read cannot take
/// the room from peers who send. Both have more blocks than their bytes ask for; pages are touched
/// only when used.
const SMALL_MESSAGE_BYTES: usize = PAYLOAD / 4;

/// A queue of small messages takes a block for each.
fn message_blocks(settings: &Settings) -> usize {
    let queued = settings.wq_max_bytes as usize / SMALL_MESSAGE_BYTES;
    let largest = settings.max_message_size_bytes as usize / PAYLOAD + 2;
    queued + largest * settings.participants as usize + 1024
}

/// Each connection may have begun a message. `partial_max` is looked at before a read, so each worker
/// may park what one turn brings beyond it; and a message that is under way then may grow to the largest.
fn partial_blocks(settings: &Settings) -> usize {
    let parked = (settings.partial_max_bytes + settings.max_message_size_bytes) as usize / PAYLOAD
        + settings.max_connections as usize;
    parked + settings.workers as usize * (2 * 65_536 / PAYLOAD + 2)
}

/// The counts that settings and listeners come to. Kept in the header: with them who looks from outside
/// finds everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shape {
    slots: u32,
    workers: u32,
    participants: u32,
    log_ring: u32,
    listeners: u32,
    proxied: bool,
    message_blocks: u32,
    partial_blocks: u32,
}

impl Shape {
    fn of(settings: &Settings, listeners: usize, proxied: bool) -> Shape {
        Shape {
            slots: settings.max_connections,
            workers: settings.workers,
            participants: settings.participants,
            log_ring: settings.log_ring,
            listeners: listeners as u32,
            proxied,
            message_blocks: blocks_of(message_blocks(settings)),
            partial_blocks: blocks_of(partial_blocks(settings)),
        }
    }

    fn words(&self) -> [u32; SHAPE_WORDS] {
        let proxied = u32::from(self.proxied);
        let (counts, blocks) = (
            [self.slots, self.workers, self.participants, self.log_ring],
            [self.message_blocks, self.partial_blocks],
        );
        let mut words = [0; SHAPE_WORDS];
        let known = counts.into_iter().chain([self.listeners, proxied]);
        for (word, value) in words.iter_mut().zip(known.chain(blocks)) {
            *word = value;
        }
        words
    }

    /// `None`: no instance has such counts. The bounds keep the arithmetic of the layout far from its limits.
    fn from_words(words: [u32; SHAPE_WORDS]) -> Option<Shape> {
        let [
            slots,
            workers,
            participants,
            log_ring,
            listeners,
            proxied,
            message_blocks,
            partial_blocks,
            ..,
        ] = words;
        let shape = Shape {
            slots,
            workers,
            participants,
            log_ring,
            listeners,
            proxied: proxied == 1,
            message_blocks,
            partial_blocks,
        };
        let bounded = [
            (slots, 1 << 20),
            (workers, 256),
            (participants, 1_023),
            (log_ring, 1 << 24),
            (listeners, 1 << 20),
            (message_blocks, MOST_BLOCKS),
            (partial_blocks, MOST_BLOCKS),
        ];
        (slots > 0 && bounded.iter().all(|(count, most)| count <= most)).then_some(shape)
    }
}

/// Why the memory of another process is not looked into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foreign {
    System(sys::Errno),
    /// It is not, or not yet, a segment.
    NoSegment,
    /// That of another layout version.
    Version(u64),
    /// Says that it is of our version, but is laid out in another way, or was scribbled on.
    Layout,
}

impl Segment {
    /// `listeners`: where those listen that the instance is made with; `proxied`: some listener speaks PROXY.
    pub fn new(settings: &Settings, listeners: &[Addr], proxied: bool) -> sys::Result<Segment> {
        let shape = Shape::of(settings, listeners.len(), proxied);
        let key = u64::from_le_bytes(sys::process::random()?);
        let segment = Segment::lay_out(&shape, key, |layout| Region::new("sipwire", layout))?;
        let header = segment.header();
        header.layout.store_sync(segment.layout);
        header.version.store_sync(LAYOUT_VERSION);
        for (cell, word) in header.shape.iter().zip(shape.words()) {
            cell.store_sync(word);
        }
        header.partial_max.store_sync(settings.partial_max_bytes);
        header.made_ms.store_sync(sys::clock::monotonic_ms());
        segment.publish(None, settings);
        for (record, bound) in segment.listeners().iter().zip(listeners) {
            record.inherit(bound);
        }
        crate::table::index::init(&segment);
        header.magic.store_sync(MAGIC);
        Ok(segment)
    }

    /// The segment of another process, to read only: nothing that writes may be called. `fd` is its memory,
    /// and stays the caller's.
    pub fn view(fd: sys::RawFd) -> Result<Segment, Foreign> {
        let region = Region::view(fd).map_err(Foreign::System)?;
        let mut layout = Layout::default();
        let header = layout.span::<Header>(1);
        let (version, hash, shape) = {
            let header = region.slice(header).first().ok_or(Foreign::NoSegment)?;
            if header.magic.load_sync() != MAGIC {
                return Err(Foreign::NoSegment);
            }
            let shape = header.shape.each_ref().map(Word::load_sync);
            let version = header.version.load_sync();
            (version, header.layout.load_sync(), Shape::from_words(shape))
        };
        if version != LAYOUT_VERSION {
            return Err(Foreign::Version(version));
        }
        let shape = shape.ok_or(Foreign::Layout)?;
        // Only for its size: what is not exactly as large was laid out by other rules.
        let bytes = region.bytes();
        let segment = Segment::lay_out(&shape, 0, |layout| {
            (layout.hash() == hash && layout.bytes() == bytes)
                .then_some(region)
                .ok_or(Foreign::Layout)
        })?;
        Ok(segment)
    }

    /// Where everything is in a segment of this shape, and the memory of it, which `region` makes or has.
    fn lay_out<E>(
        shape: &Shape,
        index_key: u64,
        region: impl FnOnce(&Layout) -> Result<Region, E>,
    ) -> Result<Segment, E> {
        let slots = shape.slots as usize;
        let workers = shape.workers as usize;
        let listeners = shape.listeners as usize;
        let (summary, leaves) = mailbox::words(slots);
        let mut layout = Layout::default();
        Ok(Segment {
            header: layout.span(1),
            texts: layout.span(LIVE_TEXTS),
            text_cells: layout.span(LIVE_TEXTS + SPARE_CELLS),
            listeners: layout.span(listeners + SPARE_LISTENERS),
            participants: layout.span(shape.participants as usize),
            workers: layout.span(workers),
            ring_headers: layout.span(workers),
            ring_entries: layout.span(workers * CAPACITY as usize),
            summary: layout.span(summary),
            leaves: layout.span(leaves),
            buckets: layout.span(slots.next_power_of_two()),
            blacklist: layout.span(BLACKLIST_ENTRIES),
            log_header: layout.span(1),
            log_records: layout.span(shape.log_ring as usize),
            slots: layout.span(slots),
            rare: layout.span(slots),
            wires: layout.span(if shape.proxied { slots } else { 0 }),
            messages: Pool::new(&mut layout, shape.message_blocks as usize),
            partials: Pool::new(&mut layout, shape.partial_blocks as usize),
            layout: layout.hash(),
            region: region(&layout)?,
            ids: IdLayout::new(shape.slots),
            index_key,
        })
    }

    /// Publishes settings that can change while running: those that are not what they were before. False:
    /// a text could not be published now, see `Texts::publish`; what came before it is.
    pub fn publish(&self, before: Option<&Settings>, after: &Settings) -> bool {
        let old = before.map(Settings::live_words);
        let words = after.live_words();
        for (i, (cell, word)) in self.header().live.iter().zip(words).enumerate() {
            if old.is_none_or(|old| old.get(i) != Some(&word)) {
                cell.store_sync(word);
            }
        }
        let old = before.map(Settings::live_texts);
        let pid = sys::process::pid() as u32;
        let lives = |pid: u32| sys::process::process_alive(pid as i32);
        let mut texts = after.live_texts().into_iter().enumerate();
        let published = texts.all(|(i, text)| {
            let same = old.as_ref().is_some_and(|old| old.get(i) == Some(&text));
            same || self.texts().publish(i, &text, pid, lives)
        });
        self.header()
            .live_version
            .fetch_add(1, crate::sync::Ordering::SeqCst);
        published
    }

    /// Takes the settings as they are published now.
    pub fn apply_live(&self, settings: &mut Settings) {
        settings.apply_live_words(self.live_words());
        for which in 0..LIVE_TEXTS {
            if let Some(text) = self.texts().read(which) {
                settings.apply_live_text(which, &text);
            }
        }
    }

    /// The live settings that fit no word.
    pub fn texts(&self) -> Texts<'_> {
        Texts {
            current: self.region.slice(self.texts),
            cells: self.region.slice(self.text_cells),
        }
    }

    fn live_words(&self) -> [u64; LIVE_WORDS] {
        core::array::from_fn(|i| self.header().live.get(i).map_or(0, Word::load_sync))
    }

    /// The same memory as somebody outside has it: a write ends the process.
    #[cfg(test)]
    pub fn from_outside(&self) -> Result<Segment, Foreign> {
        Segment::view(self.region.fd().unwrap_or(-1))
    }

    /// Everything becomes what `word` says.
    #[cfg(test)]
    pub fn scribble(&self, mut word: impl FnMut() -> u64) {
        for cell in self.region.words() {
            cell.set(word());
        }
    }

    #[allow(clippy::indexing_slicing)] // the layout has exactly one header
    pub fn header(&self) -> &Header {
        &self.region.slice(self.header)[0]
    }
    pub fn bytes(&self) -> usize {
        self.region.bytes()
    }
    /// Slots that were ever used.
    pub fn touched_slots(&self) -> &[Slot] {
        let touched = self.header().gauges.slots_touched.get();
        let all = self.slots();
        let touched = usize::try_from(touched).unwrap_or(usize::MAX);
        all.get(..touched).unwrap_or(all)
    }
    pub fn ids(&self) -> IdLayout {
        self.ids
    }
    pub fn slots(&self) -> &[Slot] {
        self.region.slice(self.slots)
    }
    pub fn slot(&self, index: u32) -> Option<&Slot> {
        self.slots().get(index as usize)
    }
    /// Of the slot with this index.
    pub fn rare(&self, index: u32) -> Option<&Rare> {
        self.region.slice(self.rare).get(index as usize)
    }
    /// Of the slot with this index; `None`: no listener speaks PROXY.
    pub fn wire(&self, index: u32) -> Option<&Wire> {
        self.region.slice(self.wires).get(index as usize)
    }
    /// Remote and local address of the socket itself: the connection's, unless a PROXY header says for
    /// whom it was made.
    pub fn wire_of(&self, index: u32, slot: &Slot) -> Pair {
        let proxied = slot.identity.flags.get() & flag::PROXIED != 0;
        match self.wire(index).filter(|_| proxied) {
            Some(wire) => wire.pair(),
            None => Pair {
                source: slot.remote(),
                destination: slot.local(),
            },
        }
    }
    pub fn index_key(&self) -> u64 {
        self.index_key
    }
    pub fn buckets(&self) -> &[AtomicU32] {
        self.region.slice(self.buckets)
    }
    pub fn listeners(&self) -> &[ListenerRecord] {
        self.region.slice(self.listeners)
    }
    pub fn participants(&self) -> Participants<'_> {
        Participants {
            records: self.region.slice(self.participants),
        }
    }
    /// -1: it is no worker.
    pub fn worker_index(&self, holder: Holder) -> i32 {
        self.participants()
            .get(holder)
            .map_or(-1, |record| (record.worker.get() as i32).wrapping_sub(1))
    }
    pub fn workers(&self) -> &[WorkerRecord] {
        self.region.slice(self.workers)
    }
    pub fn ring(&self, worker: usize) -> Option<Ring<'_>> {
        let header = self.region.slice(self.ring_headers).get(worker)?;
        let size = CAPACITY as usize;
        let entries = self
            .region
            .slice(self.ring_entries)
            .get(worker * size..(worker + 1) * size)?;
        Some(Ring { header, entries })
    }
    pub fn mailbox(&self) -> Mailbox<'_> {
        Mailbox {
            summary: self.region.slice(self.summary),
            leaves: self.region.slice(self.leaves),
        }
    }
    pub fn blacklist(&self) -> &[BlacklistEntry] {
        self.region.slice(self.blacklist)
    }
    #[allow(clippy::indexing_slicing)] // the layout has exactly one log header
    pub fn log(&self) -> LogRing<'_> {
        LogRing {
            header: &self.region.slice(self.log_header)[0],
            records: self.region.slice(self.log_records),
        }
    }
    /// Blocks of queued messages and notices.
    pub fn blocks(&self) -> Blocks<'_> {
        self.pool(self.messages)
    }
    /// Blocks of parked input.
    pub fn partial_blocks(&self) -> Blocks<'_> {
        self.pool(self.partials)
    }
    fn pool(&self, pool: Pool) -> Blocks<'_> {
        Blocks {
            blocks: self.region.slice(pool.blocks),
            used: self.region.slice(pool.used),
            touched: self.region.slice(pool.touched),
            participants: self.participants().records.len() as u32,
        }
    }

    pub fn count(&self, holder: Holder, counter: Counter, by: u64) {
        if let Some(record) = self.participants().get(holder) {
            record.counters.add(counter, by);
        }
    }
    /// P12: something in the segment cannot be; go on, and say so.
    pub fn violation(&self, holder: Holder) {
        self.header().degraded.store_sync(1);
        self.count(holder, Counter::Violations, 1);
    }
    pub fn total(&self, counter: Counter) -> u64 {
        self.participants()
            .records
            .iter()
            .fold(0, |sum, r| sum.wrapping_add(r.counters.get(counter)))
    }

    /// The slot a public id names, with its generation, if that connection still exists.
    pub fn by_id(&self, id: u32) -> Option<(u32, &Slot, u32)> {
        let index = self.ids.slot(id)?;
        let slot = self.slot(index)?;
        let generation = slot.owner().generation();
        (slot.is_open() && self.ids.names(id, index, generation))
            .then_some((index, slot, generation))
    }
    /// The slot in which the connection of this id is, or was the last one: its addresses stay there until
    /// the slot is used again.
    pub fn named(&self, id: u32) -> Option<&Slot> {
        let index = self.ids.slot(id)?;
        let slot = self.slot(index)?;
        let generation = slot.owner().generation();
        let last = if slot.is_open() {
            generation
        } else {
            previous_generation(generation)
        };
        self.ids.names(id, index, last).then_some(slot)
    }
    pub fn id_of(&self, index: u32, generation: u32) -> u32 {
        self.ids.public(index, generation)
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;

    fn segment(proxied: bool) -> Segment {
        let mut settings = Settings::new(2);
        settings.set("max_connections", "300").unwrap();
        Segment::new(&settings, &[Addr::v4([127, 0, 0, 1], 5060)], proxied).unwrap()
    }

    #[test]
    fn who_looks_from_outside_finds_everything_where_it_is() {
        for proxied in [false, true] {
            let made = segment(proxied);
            let seen = made.from_outside().unwrap();
            made.slots()[299].output.user.store_sync(7);
            assert_eq!(seen.slots()[299].output.user.load_sync(), 7);
            assert_eq!(seen.slots().len(), 300);
            assert_eq!(seen.wire(0).is_some(), proxied);
            assert_eq!(seen.listeners()[0].bound().port, 5060);
            let last = made.partial_blocks().blocks.len() - 1;
            made.partial_blocks().used[last / 64].store_sync(1 << 63);
            assert_eq!(seen.partial_blocks().in_use(), 1);
            let mut settings = Settings::new(1);
            seen.apply_live(&mut settings);
            assert_eq!(settings.send_timeout_ms, 10_000);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_read() {
        let made = segment(false);
        let header = made.header();
        header.version.store_sync(LAYOUT_VERSION + 1);
        assert_eq!(
            made.from_outside().err(),
            Some(Foreign::Version(LAYOUT_VERSION + 1))
        );
        header.version.store_sync(LAYOUT_VERSION);
        for word in 0..8 {
            let before = header.shape[word].get();
            for wrong in [before + 1, 0, u32::MAX, 1 << 19] {
                if wrong != before && (word != 5 || wrong == 1) {
                    header.shape[word].store_sync(wrong);
                    assert_eq!(
                        made.from_outside().err(),
                        Some(Foreign::Layout),
                        "{word} {wrong}"
                    );
                }
            }
            header.shape[word].store_sync(before);
        }
        assert!(made.from_outside().is_ok());
        header.layout.store_sync(1);
        assert_eq!(made.from_outside().err(), Some(Foreign::Layout));
        header.magic.store_sync(0);
        assert_eq!(made.from_outside().err(), Some(Foreign::NoSegment));
        assert!(matches!(Segment::view(-1), Err(Foreign::System(_))));
    }

    #[test]
    fn pages_that_nobody_used_are_not_looked_at() {
        let made = segment(false);
        assert!(made.touched_slots().is_empty());
        made.header().gauges.slots_touched.set(2);
        assert_eq!(made.touched_slots().len(), 2);
        made.header().gauges.slots_touched.set(u64::MAX);
        assert_eq!(made.touched_slots().len(), 300);
    }
}
