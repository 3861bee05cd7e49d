//! The listening sockets that the supervisor has: what `table::listeners` says is brought about, and
//! settings that a listening socket is given are given anew.
//!
//! A socket that was made before any fork is open in every process; it can be ended by `shutdown` alone.
//! One that was added while running is open in the supervisor's process only: when that dies its port is
//! free, and the next supervisor binds it again from the record.

use super::{LEVEL_READ, LOG_ERROR, LOG_NOTICE, Supervisor, TOKEN_LISTENER};
use crate::pure::addr::Addr;
use crate::pure::error::{Error, Result};
use crate::roles::context::cannot_listen;
use crate::sync::Word;
use crate::sys::poll::Interest;
use crate::sys::sock::{self, SocketOptions};
use crate::sys::{Errno, Fd, RawFd};
use crate::table::listeners::{Record, State};

/// Batches accepted from a listener that is to be closed: a whole backlog of the usual length.
const LAST_BATCHES: usize = 16;

/// One socket; its place in the list is the number of the record.
pub(super) struct Socket {
    pub raw: RawFd,
    /// None: made before any fork, the context has it.
    own: Option<Fd>,
    /// What its options were before ours.
    plain: SocketOptions,
}

/// What all sockets were given last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    pub options: SocketOptions,
    pub backlog: u32,
}

fn token(number: usize) -> u64 {
    TOKEN_LISTENER | number as u64
}

impl Supervisor {
    /// Looks at the sockets that were made before any fork. The others are opened in the first turn: not
    /// before the supervisor's place is ours.
    pub(super) fn listen(&mut self) -> Result<()> {
        let context = self.context.clone();
        let records = context.segment.listeners();
        self.sockets.resize_with(records.len(), || None);
        for (number, listener) in context.listeners.iter().enumerate() {
            let record = records.get(number);
            // Also what a dead supervisor did not come to close: only `shutdown` ends it.
            let ours = |record: &Record| {
                record.is_inherited() && matches!(record.state(), State::Open | State::Unwanted)
            };
            if !record.is_some_and(ours) {
                continue;
            }
            let raw = listener.fd.as_raw();
            self.poll
                .add(raw, token(number), LEVEL_READ)
                .map_err(|_| Error::System)?;
            if let Some(place) = self.sockets.get_mut(number) {
                *place = Some(Socket {
                    raw,
                    own: None,
                    plain: listener.plain,
                });
            }
        }
        self.listening = true;
        Ok(())
    }

    /// Somebody asked for a listener or wants one no more.
    pub(super) fn follow_listeners(&mut self) {
        let context = self.context.clone();
        let asked = context.segment.header().listeners_asked.load_sync();
        if self.listeners_heard == Some(asked) {
            return;
        }
        self.listeners_heard = Some(asked);
        for (number, record) in context.segment.listeners().iter().enumerate() {
            let here = self.sockets.get(number).is_some_and(Option::is_some);
            match record.state() {
                State::Wanted => self.open_listener(number, &record.wanted(), State::Wanted),
                // A dead supervisor's.
                State::Open if !here && !record.is_inherited() => {
                    self.open_listener(number, &record.bound(), State::Open);
                }
                State::Unwanted => {
                    // Who is through the handshake was told that we listen. With no descriptor left they
                    // are reset.
                    for _ in 0..LAST_BATCHES {
                        self.accept(number);
                    }
                    self.end_socket(number);
                    record.end(context.segment.listeners(), State::Unwanted, State::Closed);
                    let text = format!("no longer listening on tcp:{}", record.bound());
                    self.log(LOG_NOTICE, 0, 0, &text);
                }
                _ => {}
            }
        }
    }

    fn open_listener(&mut self, number: usize, addr: &Addr, seen: State) {
        let context = self.context.clone();
        let records = context.segment.listeners();
        let Some(record) = records.get(number) else {
            return;
        };
        let opened = match self.listening {
            true => self.bind(number, addr),
            false => Err(Errno::ESHUTDOWN),
        };
        match opened {
            Ok(bound) if seen == State::Open || record.opened(&bound) => {
                self.log(LOG_NOTICE, 0, 0, &format!("listening on tcp:{bound}"));
            }
            // Unwanted by now, and asked about once more.
            Ok(_) => self.end_socket(number),
            Err(errno) => {
                record.end(records, seen, State::Failed(errno.0));
                let text = cannot_listen(&format!("tcp:{addr}"), errno);
                self.log(LOG_ERROR, 0, 0, &text);
            }
        }
    }

    fn bind(&mut self, number: usize, addr: &Addr) -> core::result::Result<Addr, Errno> {
        let Given { options, backlog } = self.given;
        let (fd, plain) = sock::listen(addr, backlog as i32, &options)?;
        let bound = sock::local_addr(fd.as_raw())?;
        self.poll.add(fd.as_raw(), token(number), LEVEL_READ)?;
        if let Some(place) = self.sockets.get_mut(number) {
            *place = Some(Socket {
                raw: fd.as_raw(),
                own: Some(fd),
                plain,
            });
        }
        Ok(bound)
    }

    /// Every process of the host may have the fd: without the shutdown the kernel would go on making
    /// connections that nobody takes, and their clients would wait instead of going elsewhere.
    fn end_socket(&mut self, number: usize) {
        if let Some(socket) = self.sockets.get_mut(number).and_then(Option::take) {
            let _ = self.poll.remove(socket.raw);
            sock::shutdown_both(socket.raw);
            drop(socket.own);
        }
    }

    /// No new connection from now on: all are closed for good.
    pub(super) fn unlisten(&mut self) {
        if core::mem::take(&mut self.listening) {
            self.accept_resume_ms = None;
            self.accepts_again();
            self.dismiss_all();
            let context = self.context.clone();
            let records = context.segment.listeners();
            for (number, record) in records.iter().enumerate() {
                self.end_socket(number);
                if let seen @ (State::Open | State::Wanted | State::Unwanted) = record.state() {
                    record.end(records, seen, State::Closed);
                }
            }
        }
    }

    /// Settings may have changed: connections inherit their options from their listener.
    pub(super) fn follow_options(&mut self) {
        let now = Given {
            options: self.context.socket_options(),
            backlog: self.live.listen_backlog,
        };
        let before = core::mem::replace(&mut self.given, now);
        for socket in self.sockets.iter().flatten() {
            if now.options != before.options {
                sock::apply_again(socket.raw, &now.options, &socket.plain);
            }
            if now.backlog != before.backlog {
                sock::set_backlog(socket.raw, now.backlog as i32);
            }
        }
    }

    /// What the poll tells of all listeners.
    pub(super) fn watch_listeners(&self, interest: Interest) {
        for (number, socket) in self.sockets.iter().enumerate() {
            if let Some(socket) = socket {
                let _ = self.poll.modify(socket.raw, token(number), interest);
            }
        }
    }
}
