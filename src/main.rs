//! The plugin's entry.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubectl_ksync::main()
}
