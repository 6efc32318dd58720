//! `warpsweep completions SHELL`

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, print};
use crate::error::Result;

/// For example: `warpsweep completions bash > ~/.local/share/bash-completion/completions/warpsweep`
#[derive(Debug, clap::Args)]
pub struct Args {
    shell: Shell,
}

pub fn run(args: Args) -> Result<()> {
    // Into memory first: the generator itself panics when its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "warpsweep", &mut script);
    print(&String::from_utf8_lossy(&script))
}
