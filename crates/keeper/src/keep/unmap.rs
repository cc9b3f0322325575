//! Gives back the program's pages that only the start needed.
//!
//! There is one keeper for every run, and most of its life it waits. The code and tables that
//! were used once (linking, reading the spec, starting the child) stay in its tables of pages and
//! count as its memory. Letting go of them costs nothing but a look into the page cache should one
//! be used again. Pages that were ever written to are never touched.
#![allow(unsafe_code)] // the list of loaded objects has no safe interface

/// Lets go of every page of code and constants; what is used comes back by itself.
#[cfg(target_os = "linux")]
pub(super) fn give_back() {
    // SAFETY: the callback has the type that is asked for and uses no data.
    unsafe { libc::dl_iterate_phdr(Some(let_go), std::ptr::null_mut()) };
}

#[cfg(not(target_os = "linux"))]
pub(super) fn give_back() {}

#[cfg(target_os = "linux")]
extern "C" fn let_go(object: *mut libc::dl_phdr_info, _: libc::size_t, _: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the linker's own description of a loaded object, which is never unloaded here.
    let (base, headers) = unsafe {
        ((*object).dlpi_addr, std::slice::from_raw_parts((*object).dlpi_phdr, (*object).dlpi_phnum.into()))
    };
    // SAFETY: no memory is involved.
    let Ok(page) = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }) else { return 0 };
    for header in headers {
        // What can be written may have been: relocated addresses would be lost.
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let (Ok(start), Ok(size)) = (usize::try_from(base + header.p_vaddr), usize::try_from(header.p_memsz))
        else {
            continue;
        };
        // Whole pages only: the last one may be shared with what follows.
        let (from, to) = (start & !(page - 1), (start + size) & !(page - 1));
        if to > from {
            // SAFETY: a mapping of a file that was never written to reads the same afterwards.
            unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
        }
    }
    0
}
