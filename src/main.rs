fn main() -> std::process::ExitCode {
    kyrodb::cli::main()
}
