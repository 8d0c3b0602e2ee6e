//! Examples, with which the help of every command ends.

/// The end of a help text: an example a line.
macro_rules! examples {
    ($($line:literal),+ $(,)?) => {
        concat!("Examples:" $(, "\n  ", $line)+)
    };
}

#[cfg(test)]
mod tests {
    use std::iter::successors;

    use clap::{ArgMatches, Command, CommandFactory as _};

    use crate::cli::Cli;

    /// The runs of this program in the examples of a help text, each as its words.
    fn runs(help: &str) -> Vec<Vec<String>> {
        let lines = help.lines().filter(|line| line.starts_with("  "));
        lines.flat_map(|line| runs_of_line(line.trim())).collect()
    }

    /// Those of a line of a shell. Variables may stand ahead of the program's name.
    fn runs_of_line(line: &str) -> Vec<Vec<String>> {
        let Some(words) = shlex::split(line) else { panic!("a quote is open: {line}") };
        let commands = words.split(|word| word == "|" || word == "&&");
        let run = |command: &[String]| {
            let begin = command.iter().position(|word| word == "isogrid")?;
            let run = command.iter().skip(begin);
            Some(run.take_while(|word| *word != "<" && *word != ">").cloned().collect())
        };
        commands.filter_map(run).collect()
    }

    /// Which command it is, as in `isogrid cache get`.
    fn path(matches: &ArgMatches) -> String {
        let below = successors(matches.subcommand(), |(_, matches)| matches.subcommand());
        below.fold("isogrid".to_owned(), |path, (name, _)| format!("{path} {name}"))
    }

    /// The commands that a run of this program is of; panics where it is none.
    fn parsed(run: &[String]) -> String {
        match Cli::command().try_get_matches_from(run) {
            Ok(matches) => path(&matches),
            Err(error) => panic!("an example is none: {run:?}\n{error}"),
        }
    }

    /// Every command can be called as its own examples say, and shows so; so can those that the
    /// commands above it show.
    fn check(command: &Command, path: &str) {
        let help = [command.get_before_help(), command.get_after_help()];
        let help = help.into_iter().flatten().map(|text| format!("{text}\n")).collect::<String>();
        let shown: Vec<String> = runs(&help).iter().map(|run| parsed(run)).collect();
        if command.has_subcommands() {
            let below = command.get_subcommands();
            below.for_each(|below| check(below, &format!("{path} {}", below.get_name())));
        } else {
            assert!(help.contains("Examples:\n"), "`{path} --help` has no examples");
            assert!(shown.iter().any(|shown| shown == path), "{path} shows {shown:?}");
        }
        assert!(command.get_about().is_some() || path == "isogrid", "{path} does what?");
    }

    #[test]
    fn every_command_shows_true_examples_of_itself() {
        check(&Cli::command(), "isogrid");
    }

    #[test]
    fn examples_are_found_in_lines_of_a_shell() {
        let words =
            |line: &str| runs_of_line(line).iter().map(|run| run.join(" ")).collect::<Vec<_>>();
        for (line, runs) in [
            ("isogrid man | man -l -   # a comment", &["isogrid man"][..]),
            (
                "A=1 isogrid serve && isogrid cache ls > file",
                &["isogrid serve", "isogrid cache ls"],
            ),
            ("isogrid cache get a '# | b' < file", &["isogrid cache get a # | b"]),
            ("more of the text", &[]),
        ] {
            assert_eq!(words(line), runs, "{line}");
        }
    }
}
