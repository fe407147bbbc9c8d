//! Hints for the processor about memory that is written soon.
//!
//! # Invariant
//! A hint accesses nothing and never faults, so it may be given for any address.

#![allow(unsafe_code, reason = "the instruction has no name in the library")]

/// Has the processor bring the line at that address here, and take it from other processors, while the caller does something
/// else. The address may be any.
#[inline(always)]
pub(crate) fn to_write(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: see the top. A processor of this kind that does not know the instruction, as those of Intel before 2014, takes it
    // for one that does nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    let _ = at;
}
