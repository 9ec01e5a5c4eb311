//! The program: everything is in the library's `cli`.

/// Every call takes bounded time: a core that allocates must not stop to tidy up (see "Turns" in
/// ARCHITECTURE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    kyrodb::io::uring::keep_freed_memory();
    kyrodb::io::uring::tidy_memory_seldom();
    kyrodb::cli::main()
}
