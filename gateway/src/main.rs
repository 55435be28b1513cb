//! The `portolan` binary.

fn main() -> std::process::ExitCode {
    portolan_gateway::cli::main()
}
