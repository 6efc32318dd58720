//! Parse, resolve, dispatch, print the error, exit code: nothing else.

use std::io::Write;
use std::process::ExitCode;

use warpsweep::cli;

fn main() -> ExitCode {
    match cli::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_quiet() {
                // Nothing is left to be done when standard error is gone as well.
                let _ = writeln!(std::io::stderr(), "warpsweep: error: {error}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
