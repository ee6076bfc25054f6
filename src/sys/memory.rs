//! Taking memory, and giving it back.

unsafe extern "C" {
    /// The start of the program's file image: its read-only segments lie from here on. From the linker.
    static __ehdr_start: u8;
    /// The first address after the program's code. From the linker.
    static etext: u8;
}

/// The page size that every supported machine's mappings are multiples of.
const PAGE: usize = 4096;

/// Has every block of 128 KiB or more mapped by itself from here on: it costs nothing before it is used, and goes
/// back when it is freed. Left alone, glibc stops doing so for blocks as large as the largest that was freed
/// (mallopt(3), `M_MMAP_THRESHOLD`), and zeroes them instead.
pub fn map_large_blocks() {
    const LARGE: libc::c_int = 128 << 10;
    // SAFETY: the call changes how memory is found, not what any block holds. A refusal leaves everything as it is.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}

/// Lets go of the program's code and constants, which are clean pages of a file: what is needed comes back from
/// the page cache, a few pages at a time. For a process that is about to sleep for long.
pub fn release_program() {
    let start = std::ptr::addr_of!(__ehdr_start) as usize;
    let end = std::ptr::addr_of!(etext) as usize & !(PAGE - 1);
    if !start.is_multiple_of(PAGE) || end <= start {
        return;
    }
    // SAFETY: the range holds only private mappings of the program's file that nobody can have written to, so
    // dropping their pages changes no content. A refusal leaves everything as it is.
    unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
}
