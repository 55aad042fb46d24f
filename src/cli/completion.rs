//! `skyhound completion` and `skyhound man`: the files that a package installs in addition to the binary.
//!
//! Both are generated from clap's definition of the arguments, so they are always up to date.

use clap::{Args, Command};
use clap_complete::Shell;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  bash:  skyhound completion bash > ~/.local/share/bash-completion/completions/skyhound
  zsh:   skyhound completion zsh > ~/.zfunc/_skyhound     (with ~/.zfunc in fpath)
  fish:  skyhound completion fish > ~/.config/fish/completions/skyhound.fish";

/// Print a shell's completion script
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionArgs {
    /// Shell to print the script for
    pub shell: Shell,
}

/// Print a man page: `skyhound man | man -l -`
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Verb to print the page of [default: skyhound itself]
    pub verb: Option<String>,
}

/// Prints the completion script for `command`.
pub fn completion(args: &CompletionArgs, mut command: Command) -> ExitCode {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    super::print(&script)
}

/// Prints the man page of `command`, or of one of its verbs.
pub fn man(args: &ManArgs, mut command: Command) -> ExitCode {
    command.build();
    let page = match &args.verb {
        None => Some(&command),
        Some(verb) => command.find_subcommand(verb),
    };
    let Some(page) = page else {
        let verbs: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        let verb = args.verb.as_deref().unwrap_or_default();
        super::progress::error(&format!("unknown verb {verb:?}; expected one of {}", verbs.join(", ")));
        return ExitCode::from(2);
    };
    let mut roff = Vec::new();
    let source = format!("skyhound {}", env!("CARGO_PKG_VERSION"));
    // Writing to a Vec cannot fail.
    let _ = clap_mangen::Man::new(page.clone()).source(source).render(&mut roff);
    super::print(&roff)
}
