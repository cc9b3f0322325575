//! `bugle export`: a whole company as a file that a person likes to read and keeps in git.

use clap::Args;

use crate::cli::Context;
use crate::company_text::{self, Format};
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  bugle export > company.toml
  bugle export --format yaml --company Acme > acme.yaml
  bugle export | bugle apply -f -              changes nothing, always";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Export {
    /// How to write it
    #[arg(long, value_enum, default_value = "toml")]
    format: Format,
}

impl Export {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let document = client.get(&format!("/companies/{company}/export")).await;
        let document = document.map_err(|failure| {
            let is_of_twins = failure.details.as_ref().is_some_and(|details| details.get("ids").is_some());
            match is_of_twins {
                true => failure.hint("rename one of them by its id, then export again"),
                false => failure,
            }
        })?;
        let format = if context.global.json { Format::Json } else { self.format };
        let text = company_text::write(&document, format)?;
        context.screen.line(text.strip_suffix('\n').unwrap_or(&text));
        Ok(())
    }
}
