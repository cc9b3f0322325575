//! `bugle completions`: what makes a shell complete the commands.

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bugle completions bash > ~/.local/share/bash-completion/completions/bugle")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn print(self, mut command: clap::Command) {
        clap_complete::generate(self.shell, &mut command, "bugle", &mut std::io::stdout());
    }
}
