//! A tiny process that outlives a killed sidecar just long enough to end the user function's process group.
//!
//! The parent-death signal reaches the child alone; what `npm start` or a shell script started in turn would live on and hold the user
//! function's port. The guard waits at the end of a pipe for the sidecar to be gone, then kills the group it was last told of.
#![allow(unsafe_code)] // fork, and what runs in the forked process

use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};

use rustix::process::Pid;
use tracing::debug;

/// The sidecar's end of the pipe. Dropping it, or dying, makes the guard act.
pub(super) struct Guard {
    pipe: io::PipeWriter,
}

impl Guard {
    /// Starts the guard.
    pub(super) fn start() -> io::Result<Self> {
        let (reader, pipe) = io::pipe()?;
        // SAFETY: other threads may hold locks at this moment, so the forked process may only make system calls: `watch` allocates nothing,
        // takes no lock and never returns.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => watch(reader.as_raw_fd()),
            _ => Ok(Self { pipe }),
        }
    }

    /// From now on `group` is to be ended with the sidecar; `None`: nothing is.
    pub(super) fn watch_over(&mut self, group: Option<Pid>) {
        let group = group.map_or(0, |group| group.as_raw_nonzero().get());
        if let Err(error) = self.pipe.write_all(&group.to_ne_bytes()) {
            debug!(%error, "the guard of the user function is gone");
        }
    }
}

/// The guard's whole life.
fn watch(pipe: RawFd) -> ! {
    let mut group = 0;
    // SAFETY: plain system calls on our own descriptors and a buffer on our own stack. Descriptors are closed so that neither ports nor the
    // store's lock nor anybody's pipe stays open because of us.
    unsafe {
        libc::setsid(); // signals to the sidecar's group are not for us
        libc::dup2(pipe, 0);
        if libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0) != 0 {
            (1..4096).for_each(|descriptor| {
                libc::close(descriptor);
            });
        }
        let mut bytes = [0_u8; 4];
        loop {
            match libc::read(0, bytes.as_mut_ptr().cast(), bytes.len()) {
                4 => group = i32::from_ne_bytes(bytes),
                -1 if *libc::__errno_location() == libc::EINTR => {}
                _ => break,
            }
        }
        if group > 1 {
            libc::kill(-group, libc::SIGKILL);
        }
        libc::_exit(0)
    }
}
