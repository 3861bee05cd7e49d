//! May this message be queued? Limits count only our queue, never the kernel's socket buffer
//! (design section 2, items 7 and 8).

/// What `queue_full` asks for when a limit would be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The connection's own queue: `conn_wq_max`.
    Connection,
    /// All queues together: `wq_max`.
    Total,
}

/// Byte counts at the moment of queueing.
#[derive(Clone, Copy, Debug)]
pub struct QueueState {
    /// Already queued on this connection, inbox included.
    pub connection_bytes: u64,
    /// Queued on all connections together, this message not included.
    pub total_bytes: u64,
    pub conn_wq_max: u64,
    pub wq_max: u64,
}

/// Admits `length` more bytes, or says which limit refuses them. An empty connection queue admits
/// one message of any size the caller allows: otherwise a message above `conn_wq_max` could
/// never be sent to a peer whose socket buffer is small.
pub fn admit(state: QueueState, length: u64) -> Result<(), Full> {
    if state.connection_bytes > 0 && state.connection_bytes + length > state.conn_wq_max {
        return Err(Full::Connection);
    }
    if state.total_bytes + length > state.wq_max {
        return Err(Full::Total);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(connection_bytes: u64, total_bytes: u64) -> QueueState {
        QueueState {
            connection_bytes,
            total_bytes,
            conn_wq_max: 100,
            wq_max: 1000,
        }
    }

    #[test]
    fn an_empty_queue_admits_one_large_message() {
        assert_eq!(admit(state(0, 0), 500), Ok(()));
        assert_eq!(admit(state(1, 1), 100), Err(Full::Connection));
        assert_eq!(admit(state(1, 1), 99), Ok(()));
    }

    #[test]
    fn all_queues_together_are_bounded() {
        assert_eq!(admit(state(0, 990), 11), Err(Full::Total));
        assert_eq!(admit(state(0, 990), 10), Ok(()));
    }
}
