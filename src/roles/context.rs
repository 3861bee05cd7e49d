//! What every participant of an instance shares: the segment, the fds made before any fork, the
//! host. Made once by `runtime`; a forked child has its own copy of this value and the same
//! segment behind it.

use crate::pure::addr::Addr;
use crate::pure::flow_token::FlowKey;
use crate::pure::networks::Networks;
use crate::pure::reason::Reason;
use crate::pure::settings::{ProxyProtocol, Settings};
use crate::pure::words::Holder;
use crate::roles::host::{Host, Wants};
use crate::shm::participants::{End, SUPERVISOR};
use crate::sync::{AtomicI32, AtomicU32, Ordering, Word};
use crate::sys::event::EventFd;
use crate::sys::map::IdentityPage;
use crate::sys::sock::SocketOptions;
use crate::sys::{self, Fd, RawFd};
use crate::table::segment::Segment;
use crate::table::slot::Slot;

pub struct Listener {
    pub fd: Fd,
    pub addr: Addr,
    /// What PROXY headers are to it.
    pub proxy: ProxyProtocol,
    pub proxy_networks: Networks,
    /// What its options were before ours.
    pub plain: SocketOptions,
}

/// One line about a listener that could not be opened, and what to do about it.
pub fn cannot_listen(what: &str, errno: sys::Errno) -> String {
    let hint = match errno {
        sys::Errno::EADDRINUSE => ": another program listens there; end it or choose another port",
        sys::Errno::EACCES => ": ports below 1024 need root or CAP_NET_BIND_SERVICE",
        sys::Errno::EADDRNOTAVAIL => ": no interface of this machine has that address",
        sys::Errno::ESHUTDOWN => ": the instance takes no new connections any more",
        _ => "",
    };
    format!("cannot listen on {what}: {}{hint}", errno.text())
}

/// What a failed read or write means for the connection.
pub fn failed_because(errno: sys::Errno) -> Reason {
    match errno {
        sys::Errno::EPIPE | sys::Errno::ECONNRESET => Reason::PeerReset,
        _ => Reason::IoError,
    }
}

pub struct Context {
    pub segment: Segment,
    /// As the instance was made; what can change while running is read by `live`.
    pub settings: Settings,
    pub host: Box<dyn Host>,
    pub wants: Wants,
    /// Those that the instance was made with; all, by number: `Segment::listeners`.
    pub listeners: Vec<Listener>,
    /// By it flow tokens are made and known.
    pub flow_key: FlowKey,
    /// Wakes the supervisor.
    pub wake: EventFd,
    /// Readable from when every worker is to end, and for ever: none needs to be told by itself.
    pub end: EventFd,
    /// Participants announce themselves here, with their channel, eventfd and pidfd.
    pub announce: Fd,
    pub announced: Fd,
    /// How this process takes part, see `runtime::membership`: pid in the upper half, 0: not at all.
    /// Wiped by the kernel in a forked child: who did not attach is recognised.
    pub identity: IdentityPage,
    /// The last claim of a supervisor of this process, 0: none. Wiped in a forked child, whose fds are
    /// copies.
    pub claimed: IdentityPage,
    /// The process of which a thread is the supervisor, as far as this process knows.
    supervises: AtomicU32,
    /// That supervisor's poll, -1: there is none. A number that is no poll any more, or another one, knows
    /// none of our connections.
    supervisors_poll: AtomicI32,
    left_open: std::sync::Mutex<LeftOpen>,
    live: LiveSettings,
}

/// Descriptors of connections that a supervisor of this process, `pid`, could not close when it ended.
#[derive(Default)]
struct LeftOpen {
    pid: i32,
    fds: Vec<RawFd>,
}

impl Drop for Context {
    /// This process gives up its copy of the instance: threads that still live cannot give their numbers
    /// back any more, so the supervisor of another process takes them. Not before: a thread that is
    /// ending right now gives back what it has.
    fn drop(&mut self) {
        let pid = sys::process::pid() as u32;
        if let Ok(left) = self.left_open.get_mut()
            && left.pid as u32 == pid
        {
            left.fds.drain(..).for_each(sys::sock::close);
        }
        let mut some = false;
        for (holder, record) in self.segment.participants().active() {
            let tenant = record.tenant();
            if holder != SUPERVISOR && tenant.pid() == pid {
                record.tell_end(tenant.epoch(), End::Left);
                some = true;
            }
        }
        if some {
            let told = &self.segment.header().deaths_told;
            told.fetch_add(1, Ordering::SeqCst);
            self.wake_supervisor();
        }
    }
}

impl Context {
    pub fn new(
        segment: Segment,
        settings: Settings,
        host: Box<dyn Host>,
        listeners: Vec<Listener>,
    ) -> sys::Result<Context> {
        let (announce, announced) = sys::fdpass::channel()?;
        Ok(Context {
            wants: host.wants(),
            live: LiveSettings::new(&settings),
            segment,
            settings,
            host,
            listeners,
            flow_key: FlowKey::new(sys::process::random()?),
            wake: EventFd::new()?,
            end: EventFd::new()?,
            announce,
            announced,
            identity: IdentityPage::new()?,
            claimed: IdentityPage::new()?,
            supervises: AtomicU32::new(0),
            left_open: std::sync::Mutex::default(),
            supervisors_poll: AtomicI32::new(-1),
        })
    }

    /// P2: the caller has something for the supervisor and has put it where it looks.
    #[cfg_attr(crash_points, track_caller)]
    pub fn wake_supervisor(&self) {
        if self.segment.header().line_sleep.sleeping.load_sync() == 1 {
            self.wake.notify();
        }
    }

    /// A stop was asked for and the supervisor that would serve it has ended: none will follow, so what
    /// is left to do is nobody's.
    pub fn finish_orphaned_stop(&self) {
        let header = self.segment.header();
        if header.stopping.load_sync() == 1 && !header.supervised() {
            header.stop(2);
            self.end.notify();
        }
    }

    /// P2: reason bits, then the mailbox, then the wake.
    #[cfg_attr(crash_points, track_caller)]
    pub fn post(&self, index: u32, slot: &Slot, reasons: u32) {
        self.post_quietly(index, slot, reasons);
        self.wake_supervisor();
    }

    /// As `post`, for what the supervisor need not know before it wakes up anyway.
    #[cfg_attr(crash_points, track_caller)]
    pub fn post_quietly(&self, index: u32, slot: &Slot, reasons: u32) {
        slot.note(reasons);
        self.segment.mailbox().post(index as usize);
    }

    pub fn worker_index(&self, holder: Holder) -> i32 {
        self.segment.worker_index(holder)
    }

    /// By the supervisor's end, of a descriptor that a thread of this process is using: it is closed when nobody
    /// has the instance here any more.
    pub fn leave_open(&self, fd: RawFd) {
        // Nobody else comes here meanwhile: there is one supervisor in a process.
        if let Ok(mut left) = self.left_open.try_lock() {
            let pid = sys::process::pid();
            if left.pid != pid {
                *left = LeftOpen::default(); // the parent's numbers
            }
            left.pid = pid;
            left.fds.push(fd);
        }
    }

    /// Its successor in this process has found them in the slots.
    pub fn nothing_is_left_open(&self) {
        if let Ok(mut left) = self.left_open.try_lock() {
            *left = LeftOpen::default();
        }
    }

    /// The supervisor runs in this process: fd numbers in slots mean something here (P4).
    pub fn is_supervisors_process(&self) -> bool {
        // The identity carries our pid: asking the kernel for it would be a system call a message.
        let here = self.identity.get() >> 32;
        here != 0 && here == u64::from(self.segment.header().supervisor_pid.load_sync())
    }

    /// There is one supervisor in a process; false: there is one already.
    pub fn begin_supervising(&self) -> bool {
        let pid = sys::process::pid() as u32;
        self.supervises.swap(pid, Ordering::SeqCst) != pid
    }
    pub fn end_supervising(&self) {
        self.supervisors_poll.store_sync(-1);
        self.supervises.store_sync(0);
    }
    /// Workers of this process may arm connections in it, see `Worker::give_back_armed`.
    pub fn supervises_with(&self, poll: RawFd) {
        self.supervisors_poll.store_sync(poll);
    }
    /// The poll of the supervisor of this process.
    pub fn supervisors_poll(&self) -> Option<RawFd> {
        let poll = self.supervisors_poll.load_sync();
        (poll >= 0 && self.is_supervisors_process()).then_some(poll)
    }

    /// Settings as they are now.
    pub fn live(&self) -> std::sync::Arc<Settings> {
        self.live.get(&self.segment)
    }

    /// Publishes what differs between the two; other settings may be changed by others meanwhile.
    /// False: too many others are in the middle of that.
    pub fn change_live(&self, before: &Settings, after: &Settings) -> bool {
        self.segment.publish(Some(before), after)
    }

    pub fn socket_options(&self) -> SocketOptions {
        socket_options(&self.live())
    }
}

pub fn socket_options(settings: &Settings) -> SocketOptions {
    SocketOptions {
        nodelay: settings.nodelay,
        keepalive: settings.keepalive,
        keepidle_s: settings.keepidle_s,
        keepintvl_s: settings.keepintvl_s,
        keepcnt: settings.keepcnt,
        user_timeout_ms: settings.user_timeout_ms,
        tos: settings.tos,
        reuse_port: settings.reuse_port,
        defer_accept_s: settings.defer_accept_s,
    }
}

/// This process's copy of the live settings, refreshed when their version moved. A reader that
/// meets the lock taken uses what was there before: nobody waits. std's mutex, because a child may
/// be forked while a thread of the parent is in here (`parking_lot` hangs there).
struct LiveSettings {
    cached: std::sync::Mutex<(u64, std::sync::Arc<Settings>)>,
    first: std::sync::Arc<Settings>,
}

impl LiveSettings {
    fn new(settings: &Settings) -> LiveSettings {
        let first = std::sync::Arc::new(settings.clone());
        LiveSettings {
            cached: std::sync::Mutex::new((0, first.clone())),
            first,
        }
    }

    fn get(&self, segment: &Segment) -> std::sync::Arc<Settings> {
        let version = segment.header().live_version.load_sync();
        let Ok(mut cached) = self.cached.try_lock() else {
            let mut settings = (*self.first).clone();
            segment.apply_live(&mut settings);
            return std::sync::Arc::new(settings);
        };
        if cached.0 != version {
            let mut settings = (*cached.1).clone();
            segment.apply_live(&mut settings);
            *cached = (version, std::sync::Arc::new(settings));
        }
        cached.1.clone()
    }
}
