//! [`LoopDisk`]: an ext4 file system in a file, which can lose its power.
#![allow(unsafe_code, reason = "an ioctl")]

use rustix::ioctl::{Setter, ioctl, opcode};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// Mounted from `new` to drop. Needs root.
pub(crate) struct LoopDisk {
    device: String,
    mount: PathBuf,
}

/// What the file system does with its own journal when it is shut down.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shutdown {
    /// Writes it out first: file names and sizes are up to date, contents may not be.
    LogFlush = 1,
    /// Leaves it as it is.
    NoLogFlush = 2,
}

impl LoopDisk {
    /// Makes a file system of `mebibytes` in `folder` and mounts it there.
    pub(crate) fn new(folder: &Path, mebibytes: u64) -> Result<Self, String> {
        let (image, mount) = (folder.join("disk"), folder.join("mounted"));
        let sized = File::create(&image).and_then(|file| file.set_len(mebibytes << 20));
        sized.and_then(|()| fs::create_dir(&mount)).map_err(|error| format!("{}: {error}", folder.display()))?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        let device = run(Command::new("losetup").args(["--find", "--show"]).arg(&image))?.trim().to_owned();
        let disk = Self { device, mount };
        disk.mount()?;
        Ok(disk)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// From now on nothing reaches the disk, and what was not synced never will.
    pub(crate) fn shut_down(&self, how: Shutdown) -> Result<(), String> {
        type ShutDown = Setter<{ opcode::read::<u32>(b'X', 125) }, u32>;
        let folder = File::open(&self.mount).map_err(|error| error.to_string())?;
        // SAFETY: FS_IOC_SHUTDOWN reads one u32 from where the pointer points.
        unsafe { ioctl(&folder, ShutDown::new(how as u32)) }.map_err(|error| format!("FS_IOC_SHUTDOWN: {error}"))
    }

    /// As after the power came back: whatever was in memory is gone.
    pub(crate) fn mount_again(&self) -> Result<(), String> {
        run(Command::new("umount").arg(&self.mount))?;
        self.mount()
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-t", "ext4", &self.device]).arg(&self.mount)).map(drop)
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Lazily, so that a process that still has a file there does not keep it.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.mount));
        if let Err(reason) = run(Command::new("losetup").args(["--detach", &self.device])) {
            eprintln!("crash: {} is left over: {reason}", self.device);
        }
    }
}

/// Runs a command to its end; answers what it printed.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{name}: {} (this needs root)", String::from_utf8_lossy(&output.stderr).trim()))
}
