//! The program: everything is in the library's `cli`.

use std::ffi::{c_int, c_long};

/// Every call takes bounded time: a core that allocates must not stop to tidy up (see "Turns" in
/// ARCHITECTURE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 2 and 3, which the bindings do not name.
const PURGE_DELAY: c_int = 15;
const NEVER: c_long = -1;

fn main() -> std::process::ExitCode {
    // What a seal frees, the next writes take: given back in between, each page of it is a fault on a core that
    // serves. What the budget of memory allows stays with the process. MIMALLOC_PURGE_DELAY says otherwise.
    // SAFETY: sets a number of a table, before there is another thread.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, NEVER) };
    kyrodb::cli::main()
}
