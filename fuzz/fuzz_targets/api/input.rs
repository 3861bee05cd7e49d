//! What the input's bytes choose from.

/// So that timers fire while a sequence runs, that limits are met, and that an end takes no time.
pub const MADE_WITH: [(&str, &str); 17] = [
    ("workers", "2"),
    ("participants", "8"),
    ("max_connections", "16"),
    ("log_ring", "16"),
    ("log_level", "debug"),
    ("wq_max", "128k"),
    ("partial_max", "128k"),
    ("linger", "10ms"),
    ("half_close_timeout", "20ms"),
    ("send_timeout", "30ms"),
    ("message_timeout", "30ms"),
    ("connection_lifetime", "40ms"),
    ("pong_timeout", "10ms"),
    ("flow_timer_grace", "10ms"),
    ("worker_hold", "5ms"),
    ("worker_stall", "10ms"),
    ("capture", "yes"),
];
/// What may be changed, before and while it runs.
pub const CHANGES: [(&str, &str); 23] = [
    ("max_message_size", "1k"),
    ("max_message_size", "64k"),
    ("conn_wq_max", "1k"),
    ("wq_max", "64k"),
    ("queue_full", "reject"),
    ("queue_full", "close"),
    ("no_connect", "yes"),
    ("no_connect", "no"),
    ("close_rst", "yes"),
    ("connections_per_destination", "3"),
    ("connections_per_destination", "1"),
    ("accept_aliases", "yes"),
    ("connect_timeout", "10ms"),
    ("blacklist_ttl", "0"),
    ("crlf_ping", "no"),
    ("accept_no_content_length", "yes"),
    ("error_answers", "no"),
    ("nodelay", "no"),
    ("worker_hold", "0"),
    ("linger", "0"),
    ("half_close_timeout", "0"),
    ("first_message_timeout", "10ms"),
    ("log_level", "error"),
];

pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.byte() as usize % from.len()]
    }
}
