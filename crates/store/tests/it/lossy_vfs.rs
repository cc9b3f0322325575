//! A file layer for SQLite that loses, when the process is killed, what was not flushed.
//!
//! `kill -9` alone proves nothing about flushes, because the page cache outlives the process. So here writes to the
//! database and its log stay in the memory of the process until SQLite asks for a flush. Now and then a part of a write
//! goes to the file early, as a system may do at any time. Faults can be switched on: a full disk, a flush that fails.

// SQLite calls a file layer through C function pointers.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use rusqlite::ffi;

/// The faults of one registered layer.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Nothing more can be written.
    pub(crate) full: AtomicBool,
    /// Flushes fail.
    pub(crate) flush: AtomicBool,
}

/// Registers a layer of this name; it stays for the life of the process.
pub(crate) fn register(name: &str, seed: u64) -> &'static Faults {
    SEED.store(seed | 1, Ordering::Relaxed);
    let faults: &'static Faults = Box::leak(Box::default());
    // SAFETY: the default layer exists for the life of the process, and the new one, made from it, is never freed.
    unsafe {
        let real = ffi::sqlite3_vfs_find(std::ptr::null());
        let mut own = std::ptr::read(real);
        own.szOsFile = size_of::<LossyFile>() as c_int + (*real).szOsFile;
        own.pNext = std::ptr::null_mut();
        own.zName = CString::new(name).unwrap().into_raw();
        own.pAppData = Box::into_raw(Box::new(Layer { real, faults })).cast();
        own.xOpen = Some(open);
        own.xDelete = Some(delete);
        own.xAccess = Some(access);
        assert_eq!(ffi::sqlite3_vfs_register(Box::into_raw(Box::new(own)), 0), ffi::SQLITE_OK);
    }
    faults
}

struct Layer {
    real: *mut ffi::sqlite3_vfs,
    faults: &'static Faults,
}

/// What SQLite holds of an open file; the real layer's file lies behind it in the same allocation.
#[repr(C)]
struct LossyFile {
    base: ffi::sqlite3_file,
    image: *const Mutex<Image>,
    faults: &'static Faults,
}

/// What the process sees of a file, and what of it is not flushed yet.
struct Image {
    bytes: Vec<u8>,
    pending: Vec<Change>,
    file: File,
}

enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
}

/// Kept open for ever: closing any descriptor of a file drops the locks that the process has on it.
static IMAGES: LazyLock<Mutex<HashMap<String, Arc<Mutex<Image>>>>> = LazyLock::new(Mutex::default);
static SEED: AtomicU64 = AtomicU64::new(1);

fn random() -> u64 {
    let mut x = SEED.load(Ordering::Relaxed);
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    SEED.store(x, Ordering::Relaxed);
    x
}

impl Image {
    fn load(path: &str) -> std::io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let mut bytes = vec![0; file.metadata()?.len() as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Self { bytes, pending: Vec::new(), file })
    }

    fn write(&mut self, at: u64, new: &[u8]) {
        let (start, end) = (at as usize, at as usize + new.len());
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(new);
        if random().is_multiple_of(8) {
            let part = &new[..new.len() / (1 + random() as usize % 2)];
            self.file.write_all_at(part, at).unwrap();
        }
        self.pending.push(Change::Write { at, bytes: new.to_owned() });
    }

    fn flush(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { at, bytes } => self.file.write_all_at(&bytes, at).unwrap(),
                Change::Length(length) => self.file.set_len(length).unwrap(),
            }
        }
    }
}

// SAFETY of all functions below: SQLite passes the pointers that it got from this layer, with buffers of the length it
// names, and calls them for one file from one thread at a time.

unsafe fn layer<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Layer {
    unsafe { &*(*vfs).pAppData.cast::<Layer>() }
}

unsafe fn lossy<'a>(file: *mut ffi::sqlite3_file) -> &'a LossyFile {
    unsafe { &*file.cast::<LossyFile>() }
}

unsafe fn real_file(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    unsafe { file.cast::<u8>().add(size_of::<LossyFile>()).cast() }
}

unsafe fn image<'a>(file: *mut ffi::sqlite3_file) -> std::sync::MutexGuard<'a, Image> {
    unsafe { (*lossy(file).image).lock().unwrap() }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    unsafe {
        let Layer { real, faults } = layer(vfs);
        let open = (**real).xOpen.unwrap();
        if name.is_null() || flags & (ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL) == 0 {
            return open(*real, name, file, flags, out);
        }
        (*file).pMethods = std::ptr::null();
        let code = open(*real, name, real_file(file), flags, out);
        if code != ffi::SQLITE_OK {
            return code;
        }
        let path = CStr::from_ptr(name).to_str().unwrap().to_owned();
        let mut images = IMAGES.lock().unwrap();
        let image =
            images.entry(path.clone()).or_insert_with(|| Arc::new(Mutex::new(Image::load(&path).unwrap())));
        let image = Arc::into_raw(image.clone());
        let base = ffi::sqlite3_file { pMethods: &raw const METHODS };
        std::ptr::write(file.cast(), LossyFile { base, image, faults });
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, flush: c_int) -> c_int {
    unsafe {
        IMAGES.lock().unwrap().remove(CStr::from_ptr(name).to_str().unwrap());
        let real = layer(vfs).real;
        (*real).xDelete.unwrap()(real, name, flush)
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    unsafe {
        if flags == ffi::SQLITE_ACCESS_EXISTS
            && let Some(image) = IMAGES.lock().unwrap().get(CStr::from_ptr(name).to_str().unwrap())
        {
            // The real file may be empty still.
            *out = c_int::from(!image.lock().unwrap().bytes.is_empty());
            return ffi::SQLITE_OK;
        }
        let real = layer(vfs).real;
        (*real).xAccess.unwrap()(real, name, flags, out)
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe {
        drop(Arc::from_raw(lossy(file).image));
        let real = real_file(file);
        (*(*real).pMethods).xClose.unwrap()(real)
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, count: c_int, at: i64) -> c_int {
    unsafe {
        let to = std::slice::from_raw_parts_mut(to.cast::<u8>(), count as usize);
        let image = image(file);
        let from = image.bytes.get(at as usize..).unwrap_or_default();
        let have = from.len().min(to.len());
        to[..have].copy_from_slice(&from[..have]);
        to[have..].fill(0);
        if have == to.len() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    count: c_int,
    at: i64,
) -> c_int {
    unsafe {
        if lossy(file).faults.full.load(Ordering::SeqCst) {
            return ffi::SQLITE_FULL;
        }
        image(file).write(at as u64, std::slice::from_raw_parts(from.cast::<u8>(), count as usize));
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    let mut image = unsafe { image(file) };
    image.bytes.resize(length as usize, 0);
    image.pending.push(Change::Length(length as u64));
    ffi::SQLITE_OK
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    unsafe {
        if lossy(file).faults.flush.load(Ordering::SeqCst) {
            return ffi::SQLITE_IOERR_FSYNC;
        }
        image(file).flush();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    unsafe { *out = image(file).bytes.len() as i64 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn control(file: *mut ffi::sqlite3_file, what: c_int, with: *mut c_void) -> c_int {
    // These two would change the real file.
    if what == ffi::SQLITE_FCNTL_SIZE_HINT || what == ffi::SQLITE_FCNTL_MMAP_SIZE {
        return ffi::SQLITE_NOTFOUND;
    }
    unsafe {
        let real = real_file(file);
        (*(*real).pMethods).xFileControl.unwrap()(real, what, with)
    }
}

/// Hands a call to the real layer's file: locks and shared memory end with the process anyway.
macro_rules! pass {
    ($($name:ident: $method:ident($($arg:ident: $kind:ty),*) $(-> $out:ty)?;)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $arg: $kind)*) $(-> $out)? {
            unsafe {
                let real = real_file(file);
                (*(*real).pMethods).$method.unwrap()(real $(, $arg)*)
            }
        }
    )*};
}

pass! {
    lock: xLock(level: c_int) -> c_int;
    unlock: xUnlock(level: c_int) -> c_int;
    check_reserved: xCheckReservedLock(out: *mut c_int) -> c_int;
    sector_size: xSectorSize() -> c_int;
    characteristics: xDeviceCharacteristics() -> c_int;
    shm_map: xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int;
    shm_lock: xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int;
    shm_barrier: xShmBarrier();
    shm_unmap: xShmUnmap(delete: c_int) -> c_int;
}

/// Version 2: without memory mapping, which would read past this layer.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
