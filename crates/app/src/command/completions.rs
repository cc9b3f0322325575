//! `bugle completions`: what makes a shell complete the commands.

use clap::Args;
use clap_complete::Shell;

use crate::screen::Screen;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bugle completions bash > ~/.local/share/bash-completion/completions/bugle"
)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn print(self, mut command: clap::Command, screen: &mut Screen) {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, "bugle", &mut text);
        screen.line(String::from_utf8_lossy(&text).trim_end());
    }
}
