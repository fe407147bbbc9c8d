//! TUN devices: what the kernel sends there is read from a file, and what is written to it arrives.

use anyhow::Context;
use rustix::ioctl::{Updater, ioctl, opcode};
use std::{
    ffi::c_int,
    fs::{File, OpenOptions},
};

/// An `ifreq` of the kernel.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Whole IP packets, without anything in front of them.
const TUN_WITHOUT_HEADER: u16 = 0x0001 | 0x1000;

/// Makes a device, which is there as long as the file is open. Returns its name, too.
///
/// # Errors
/// The kernel has none, or this program may not make one.
pub(crate) fn open() -> anyhow::Result<(String, File)> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").context(
        "stories need TUN devices, which this kernel does not have: cannot open /dev/net/tun (`modprobe tun` may help)",
    )?;
    let mut request = Request { name: *b"story%d\0\0\0\0\0\0\0\0\0", flags: TUN_WITHOUT_HEADER, rest: [0; 22] };
    // SAFETY: TUNSETIFF, `_IOW('T', 202, int)`, takes a pointer to an `ifreq`, reads it and writes the name to it, whatever
    // its number says about an `int`. `Request` has the layout of one and its 40 bytes.
    #[expect(unsafe_code, reason = "nothing safe makes a TUN device")]
    let made = unsafe { ioctl(&file, Updater::<{ opcode::write::<c_int>(b'T', 202) }, Request>::new(&mut request)) };
    made.context("cannot make a TUN device: run as root")?;
    let name = request.name.iter().take_while(|letter| **letter != 0).map(|letter| char::from(*letter));
    Ok((name.collect(), file))
}
