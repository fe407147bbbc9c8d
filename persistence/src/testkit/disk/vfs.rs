//! The table of C functions behind a [`FaultyVfs`](super::FaultyVfs).
#![allow(unsafe_code, reason = "a VFS is a table of C functions")]

use super::{
    Change, Disk,
    plan::{SyncFate, WriteFate},
};
use parking_lot::Mutex;
use rusqlite::ffi;
use std::{
    collections::HashMap,
    ffi::{CStr, c_int, c_void},
    mem::size_of,
    ptr::null,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

/// SQLite's own table of a kind of file → the same with ours put in. The kinds differ in locking only.
pub(super) type Tables = Mutex<HashMap<usize, &'static ffi::sqlite3_io_methods>>;

/// What stands behind SQLite's own file structure, from open to close.
struct Opened {
    disk: &'static Disk,
    real: &'static ffi::sqlite3_io_methods,
    file: String,
    sync_failed: AtomicBool,
}

pub(super) fn register(disk: &'static Disk) {
    let base = default_vfs();
    let vfs = ffi::sqlite3_vfs {
        szOsFile: (trailer_offset(base) + size_of::<*const Opened>()) as c_int,
        pNext: std::ptr::null_mut(),
        zName: disk.name.as_ptr(),
        pAppData: std::ptr::from_ref(disk).cast_mut().cast(),
        xOpen: Some(open),
        ..*base
    };
    // SAFETY: the table lives for ever, and all but `xOpen` are SQLite's own functions, which do not look at it.
    let registered = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0) };
    assert_eq!(registered, ffi::SQLITE_OK, "SQLite refuses the VFS");
}

fn default_vfs() -> &'static ffi::sqlite3_vfs {
    // SAFETY: initialises SQLite if need be; the default VFS is never unregistered.
    unsafe {
        ffi::sqlite3_initialize();
        ffi::sqlite3_vfs_find(null()).as_ref().expect("SQLite has a default VFS")
    }
}

/// Behind SQLite's own file structure stands a pointer to an [`Opened`].
fn trailer_offset(base: &ffi::sqlite3_vfs) -> usize {
    (base.szOsFile as usize).next_multiple_of(align_of::<*const Opened>())
}

/// Opens the real file, then puts our functions before its own.
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
    // real `open` gets the VFS it belongs to; a name that is not null is a C string; tables of methods live for ever.
    unsafe {
        let disk = &*(*vfs).pAppData.cast_const().cast::<Disk>();
        let opened = real_open(std::ptr::from_ref(base).cast_mut(), name, file, flags, out_flags);
        let methods = (*file).pMethods;
        if let Some(real) = methods.as_ref() {
            (*file).pMethods = *disk.tables.lock().entry(methods.addr()).or_insert_with(|| {
                Box::leak(Box::new(ffi::sqlite3_io_methods {
                    xClose: Some(close),
                    xRead: Some(read),
                    xWrite: Some(write),
                    xTruncate: Some(truncate),
                    xSync: Some(sync),
                    ..*real
                }))
            });
            let path = if name.is_null() { "".into() } else { CStr::from_ptr(name).to_string_lossy() };
            let file_name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let trailer = file.cast::<u8>().add(trailer_offset(base)).cast::<*const Opened>();
            let opened = Opened { disk, real, file: file_name, sync_failed: AtomicBool::new(false) };
            trailer.write(Box::into_raw(Box::new(opened)));
        }
        opened
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file was opened by `open`, which made the box, and is closed once.
    unsafe {
        let opened = Box::from_raw(std::ptr::from_ref(opened(file)).cast_mut());
        opened.real.xClose.expect("files can be closed")(file)
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, into: *mut c_void, count: c_int, at: i64) -> c_int {
    // SAFETY: the file was opened by `open`; the arguments are passed on as they came.
    unsafe {
        let Opened { disk, real, .. } = opened(file);
        if disk.dice.lock().as_mut().is_some_and(|dice| dice.read_fails()) {
            return ffi::SQLITE_IOERR_READ;
        }
        real.xRead.expect("files can be read")(file, into, count, at)
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, count: c_int, at: i64) -> c_int {
    // SAFETY: as in `read`; SQLite's buffer holds `count` bytes.
    unsafe {
        let Opened { disk, real, file: name, .. } = opened(file);
        if disk.full.load(SeqCst) {
            return ffi::SQLITE_FULL;
        }
        if disk.failing_writes.load(SeqCst) {
            return ffi::SQLITE_IOERR_WRITE;
        }
        let fate = disk.dice.lock().as_mut().map_or(WriteFate::Done, |dice| dice.write(count as usize));
        let arrives = match fate {
            WriteFate::Done => count as usize,
            WriteFate::Torn(bytes) => bytes,
            WriteFate::Failed => return ffi::SQLITE_IOERR_WRITE,
            WriteFate::Full => return ffi::SQLITE_FULL,
        };
        let content = std::slice::from_raw_parts(bytes.cast::<u8>(), arrives);
        disk.note(name, || Change::Write { at: at as usize, bytes: content.to_vec() });
        let written = real.xWrite.expect("files can be written")(file, bytes, arrives as c_int, at);
        if written == ffi::SQLITE_OK && arrives < count as usize { ffi::SQLITE_IOERR_WRITE } else { written }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    // SAFETY: as in `read`.
    unsafe {
        let Opened { disk, real, file: name, .. } = opened(file);
        disk.note(name, || Change::Truncate { len: len as usize });
        real.xTruncate.expect("files can be cut")(file, len)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: as in `read`.
    unsafe {
        let Opened { disk, file: name, sync_failed, .. } = opened(file);
        disk.syncs.fetch_add(1, SeqCst);
        if sync_failed.load(SeqCst) {
            disk.syncs_after_failure.fetch_add(1, SeqCst);
        }
        disk.released.wait_while(&mut disk.held.lock(), |held| *held);
        let fate = disk.dice.lock().as_mut().map_or(SyncFate::Done, |dice| dice.sync());
        if disk.failing_syncs.load(SeqCst) || fate == SyncFate::Failed {
            sync_failed.store(true, SeqCst);
            disk.note(name, || Change::SyncFailed);
            return ffi::SQLITE_IOERR_FSYNC;
        }
        if fate == SyncFate::Lost {
            return ffi::SQLITE_OK;
        }
        disk.note(name, || Change::Sync);
        ffi::SQLITE_OK
    }
}

/// # Safety
/// `file` must have been opened by [`open`] and not been closed.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a Opened {
    // SAFETY: `open` wrote the pointer there, to a box that lives until `close`.
    unsafe { &**file.cast::<u8>().add(trailer_offset(default_vfs())).cast::<*const Opened>() }
}
