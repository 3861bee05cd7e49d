//! The Rust face with processes. One test in a program of its own: others' threads would be there at the fork.
#![allow(unsafe_code)] // fork and what belongs to it
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may end with a panic

mod client;

use client::{Client, address, answer, config};
use sipwire::{Callbacks, Instance, Sent, Target};

/// A process; one that is not waited for is ended.
struct Child(libc::pid_t);

impl Child {
    fn fork(body: impl FnOnce() -> sipwire::Result<()>) -> Child {
        // SAFETY: the child has this thread alone and leaves with _exit.
        match unsafe { libc::fork() } {
            0 => {
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
                // SAFETY: as above.
                unsafe { libc::_exit(if matches!(result, Ok(Ok(()))) { 0 } else { 1 }) }
            }
            pid => Child(pid),
        }
    }

    fn wait(mut self) -> i32 {
        let pid = core::mem::take(&mut self.0);
        let mut status = 0;
        // SAFETY: a child of ours.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        status
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.0 > 0 {
            // SAFETY: a child of ours that nobody waited for.
            unsafe {
                libc::kill(self.0, libc::SIGKILL);
                libc::waitpid(self.0, core::ptr::null_mut(), 0);
            }
        }
    }
}

#[test]
fn processes_serve_a_message() {
    let callbacks = Callbacks::new(|instance, message| {
        let pid = std::process::id().to_string();
        answer(instance, message.conn_id, pid.as_bytes())
    });
    let instance = Instance::new(&config(), callbacks).unwrap();
    let supervisor = Child::fork(|| instance.run_supervisor());
    let workers = [0, 1].map(|worker| Child::fork(|| instance.run_worker(worker)));
    let mut client = Client::connect(address(&instance));
    client.ask("who are you?");
    let who: i32 = client.hear().parse().unwrap();
    assert!(
        workers.iter().any(|worker| worker.0 == who),
        "{who} is no worker"
    );

    // The parent only sends.
    let message = b"BYE sip:c SIP/2.0\r\nContent-Length: 3\r\n\r\nbye";
    let target = Target::remote(client.local_addr().into());
    let refused = instance.send(target, &[message], 0);
    assert_eq!(refused, Err(sipwire::Error::NotAttached));
    assert_eq!(instance.conn_close(1), Err(sipwire::Error::NotAttached));
    instance.attach().unwrap();
    let sent = instance.send(target, &[message], 0).unwrap();
    assert!(matches!(sent, Sent::Queued | Sent::Directly));
    assert_eq!(client.hear(), "bye");
    assert_eq!(instance.stats().messages_in, 1);

    instance.stop().unwrap();
    client.hear_end();
    for child in workers.into_iter().chain([supervisor]) {
        assert_eq!(child.wait(), 0);
    }
}
