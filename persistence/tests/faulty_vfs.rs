//! A disk that fails on command: SQLite's own file access, with writes and syncs that can be told to fail.
#![allow(unsafe_code)] // a VFS is a table of C functions

use parking_lot::{Condvar, Mutex};
use rusqlite::ffi;
use std::{
    collections::HashMap,
    ffi::{CStr, CString, c_int, c_void},
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
    held: Mutex<bool>,
    released: Condvar,
    /// Everything that changed the files since [`record`](Self::record), in order.
    tape: Mutex<Option<Vec<DiskOp>>>,
    real: OnceLock<ffi::sqlite3_io_methods>,
    tables: Mutex<HashMap<usize, &'static ffi::sqlite3_io_methods>>, // SQLite's table → the same with ours put in
}

/// What the disk was asked to do, in order.
pub(crate) struct DiskOp {
    pub(crate) file: String,
    pub(crate) change: Change,
}

pub(crate) enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate { len: usize },
    Sync,
}

/// What stands behind SQLite's own file structure.
struct Opened {
    disk: &'static FaultyDisk,
    file: String,
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
            held: Mutex::new(false),
            released: Condvar::new(),
            tape: Mutex::new(None),
            real: OnceLock::new(),
            tables: Mutex::default(),
        }));
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
        assert_eq!(registered, ffi::SQLITE_OK);
        disk
    }

    /// From now on each sync takes until [`release_syncs`](Self::release_syncs).
    pub(crate) fn hold_syncs(&self) {
        *self.held.lock() = true;
    }

    pub(crate) fn release_syncs(&self) {
        *self.held.lock() = false;
        self.released.notify_all();
    }

    /// From now on everything is recorded.
    pub(crate) fn record(&self) {
        *self.tape.lock() = Some(Vec::new());
    }

    /// How much is recorded.
    pub(crate) fn recorded(&self) -> usize {
        self.tape.lock().as_ref().map_or(0, Vec::len)
    }

    /// Ends recording.
    pub(crate) fn take_tape(&self) -> Vec<DiskOp> {
        self.tape.lock().take().unwrap_or_default()
    }

    fn note(&self, file: &str, change: impl FnOnce() -> Change) {
        if let Some(tape) = &mut *self.tape.lock() {
            tape.push(DiskOp { file: file.to_owned(), change: change() });
        }
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

/// Behind SQLite's own file structure stands a pointer to an [`Opened`].
fn trailer_offset(base: &ffi::sqlite3_vfs) -> usize {
    (base.szOsFile as usize).next_multiple_of(align_of::<*const Opened>())
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
    // real `open` gets the VFS it belongs to; a name that is not null is a C string.
    unsafe {
        let disk = &*(*vfs).pAppData.cast_const().cast::<FaultyDisk>();
        let opened = real_open(std::ptr::from_ref(base).cast_mut(), name, file, flags, out_flags);
        if let Some(real) = (*file).pMethods.as_ref() {
            disk.real.get_or_init(|| *real);
            // Databases and logs have tables of their own, which differ in locking only.
            (*file).pMethods = *disk.tables.lock().entry((*file).pMethods.addr()).or_insert_with(|| {
                Box::leak(Box::new(ffi::sqlite3_io_methods {
                    xWrite: Some(write),
                    xTruncate: Some(truncate),
                    xSync: Some(sync),
                    ..*real
                }))
            });
            let path = if name.is_null() { "".into() } else { CStr::from_ptr(name).to_string_lossy() };
            let file_name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let trailer = file.cast::<u8>().add(trailer_offset(base)).cast::<*const Opened>();
            trailer.write(Box::leak(Box::new(Opened { disk, file: file_name }))); // small, and tests end
        }
        opened
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, count: c_int, at: i64) -> c_int {
    // SAFETY: the file was opened by `open` above; the arguments are passed on as they came.
    unsafe {
        let Opened { disk, file: name } = opened(file);
        if disk.full.load(SeqCst) {
            return ffi::SQLITE_FULL;
        }
        if disk.fail_writes.load(SeqCst) {
            return ffi::SQLITE_IOERR_WRITE;
        }
        let content = std::slice::from_raw_parts(bytes.cast::<u8>(), count as usize);
        disk.note(name, || Change::Write { at: at as usize, bytes: content.to_vec() });
        disk.real.get().and_then(|real| real.xWrite).expect("set in `open`")(file, bytes, count, at)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    // SAFETY: as in `write`.
    unsafe {
        let Opened { disk, file: name } = opened(file);
        disk.note(name, || Change::Truncate { len: len as usize });
        disk.real.get().and_then(|real| real.xTruncate).expect("set in `open`")(file, len)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as in `write`.
    unsafe {
        let Opened { disk, file: name } = opened(file);
        disk.syncs.fetch_add(1, SeqCst);
        disk.released.wait_while(&mut disk.held.lock(), |held| *held);
        if disk.fail_syncs.load(SeqCst) {
            return ffi::SQLITE_IOERR_FSYNC;
        }
        disk.note(name, || Change::Sync);
        disk.real.get().and_then(|real| real.xSync).expect("set in `open`")(file, flags)
    }
}

/// # Safety
/// `file` must have been opened by [`open`].
unsafe fn opened(file: *mut ffi::sqlite3_file) -> &'static Opened {
    // SAFETY: `open` wrote the pointer there, to something that lives for ever.
    unsafe { &**file.cast::<u8>().add(trailer_offset(default_vfs())).cast::<*const Opened>() }
}
