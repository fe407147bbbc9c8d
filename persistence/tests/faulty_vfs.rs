//! A disk that fails on command: SQLite's own file access, with writes and syncs that can be told to fail.
#![allow(unsafe_code)] // a VFS is a table of C functions

use parking_lot::Mutex;
use rusqlite::ffi;
use std::{
    collections::HashMap,
    ffi::{CString, c_int, c_void},
    mem::size_of,
    ptr::null,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

/// Commands to one disk, and what it counted.
pub(crate) struct FaultyDisk {
    name: CString,
    /// Syncs asked for, failed ones included.
    pub(crate) syncs: AtomicU64,
    /// While set, each sync fails as a broken disk's does.
    pub(crate) fail_syncs: AtomicBool,
    /// While set, no write finds room.
    pub(crate) full: AtomicBool,
    /// While set, each write fails as a broken disk's does.
    pub(crate) fail_writes: AtomicBool,
    real: OnceLock<ffi::sqlite3_io_methods>,
    tables: Mutex<HashMap<usize, &'static ffi::sqlite3_io_methods>>, // SQLite's table → the same with ours put in
}

impl FaultyDisk {
    /// Registers a disk with SQLite, for the rest of the process.
    pub(crate) fn register(name: &str) -> &'static Self {
        let disk: &'static Self = Box::leak(Box::new(Self {
            name: CString::new(name).unwrap(),
            syncs: AtomicU64::new(0),
            fail_syncs: AtomicBool::new(false),
            full: AtomicBool::new(false),
            fail_writes: AtomicBool::new(false),
            real: OnceLock::new(),
            tables: Mutex::default(),
        }));
        let base = default_vfs();
        let vfs = ffi::sqlite3_vfs {
            szOsFile: (controls_offset(base) + size_of::<*const Self>()) as c_int,
            pNext: std::ptr::null_mut(),
            zName: disk.name.as_ptr(),
            pAppData: std::ptr::from_ref(disk).cast_mut().cast(),
            xOpen: Some(open),
            ..*base
        };
        // SAFETY: the table lives for ever, and all but `xOpen` are SQLite's own functions, which do not look at it.
        let registered = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0) };
        assert_eq!(registered, ffi::SQLITE_OK);
        disk
    }

    pub(crate) fn name(&self) -> String {
        self.name.to_str().unwrap().to_owned()
    }
}

fn default_vfs() -> &'static ffi::sqlite3_vfs {
    // SAFETY: initialises SQLite if need be; the default VFS is never unregistered.
    unsafe {
        ffi::sqlite3_initialize();
        ffi::sqlite3_vfs_find(null()).as_ref().expect("SQLite has a default VFS")
    }
}

/// Behind SQLite's own file structure stands a pointer to the disk's commands.
fn controls_offset(base: &ffi::sqlite3_vfs) -> usize {
    (base.szOsFile as usize).next_multiple_of(align_of::<*const FaultyDisk>())
}

/// Opens the real file, then puts our `write` and `sync` before its own.
unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let base = default_vfs();
    let real_open = base.xOpen.expect("a VFS opens files");
    // SAFETY: SQLite hands over a buffer of `szOsFile` bytes, which holds the real structure and one pointer more; the
    // real `open` gets the VFS it belongs to.
    unsafe {
        let disk = &*(*vfs).pAppData.cast_const().cast::<FaultyDisk>();
        let opened = real_open(std::ptr::from_ref(base).cast_mut(), name, file, flags, out_flags);
        if let Some(real) = (*file).pMethods.as_ref() {
            disk.real.get_or_init(|| *real);
            // Databases and logs have tables of their own, which differ in locking only.
            (*file).pMethods = *disk.tables.lock().entry((*file).pMethods.addr()).or_insert_with(|| {
                Box::leak(Box::new(ffi::sqlite3_io_methods { xWrite: Some(write), xSync: Some(sync), ..*real }))
            });
            file.cast::<u8>().add(controls_offset(base)).cast::<*const FaultyDisk>().write(disk);
        }
        opened
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, count: c_int, at: i64) -> c_int {
    // SAFETY: the file was opened by `open` above; the arguments are passed on as they came.
    unsafe {
        let disk = disk_of(file);
        if disk.full.load(SeqCst) {
            return ffi::SQLITE_FULL;
        }
        if disk.fail_writes.load(SeqCst) {
            return ffi::SQLITE_IOERR_WRITE;
        }
        disk.real.get().and_then(|real| real.xWrite).expect("set in `open`")(file, bytes, count, at)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as in `write`.
    unsafe {
        let disk = disk_of(file);
        disk.syncs.fetch_add(1, SeqCst);
        if disk.fail_syncs.load(SeqCst) {
            return ffi::SQLITE_IOERR_FSYNC;
        }
        disk.real.get().and_then(|real| real.xSync).expect("set in `open`")(file, flags)
    }
}

/// # Safety
/// `file` must have been opened by [`open`].
unsafe fn disk_of(file: *mut ffi::sqlite3_file) -> &'static FaultyDisk {
    // SAFETY: `open` wrote the pointer there, to a disk that lives for ever.
    unsafe { &**file.cast::<u8>().add(controls_offset(default_vfs())).cast::<*const FaultyDisk>() }
}
