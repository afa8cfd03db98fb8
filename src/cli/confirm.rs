//! What takes much away, or gives much, is asked about first: on a terminal, and else not done at all.

use std::io::{self, BufRead, IsTerminal as _, Write};

use super::exit::{Error, Exit};

/// Waits for a yes to `question`. `undone` says how things stand without one.
///
/// # Errors
/// Nobody can be asked here, or the answer is another.
pub(super) fn agreed(question: &str, undone: &str, talk: &mut dyn Write) -> Result<(), Error> {
    let stdin = io::stdin();
    let someone = stdin.is_terminal();
    ask(question, undone, talk, someone.then(|| stdin.lock()))
}

fn ask(question: &str, undone: &str, talk: &mut dyn Write, someone: Option<impl BufRead>) -> Result<(), Error> {
    let Some(mut someone) = someone else {
        let message = format!("{question} Nobody can be asked here, and {undone}");
        return Err(Error::new(Exit::Usage, message).with_remedy("add --yes to go on without being asked"));
    };
    write!(talk, "{question} [y/N] ")?;
    talk.flush()?;
    let mut said = String::new();
    someone.read_line(&mut said)?;
    if ["y", "yes"].contains(&said.trim().to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Error::new(Exit::Failed, undone).with_remedy("answer `y`, or use `--yes`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one_and_nobody_is_none() {
        let asked = |answer: Option<&str>| {
            let mut talk = Vec::new();
            let said = ask("do it?", "nothing was done", &mut talk, answer.map(str::as_bytes));
            (said.map_err(|failure| (failure.exit, failure.to_string())), String::from_utf8(talk).expect("text"))
        };
        for yes in ["y\n", " YES \n", "Yes"] {
            assert_eq!(asked(Some(yes)), (Ok(()), "do it? [y/N] ".to_owned()), "{yes}");
        }
        for no in ["", "\n", "n\n", "yess\n", "y y\n"] {
            let (exit, said) = asked(Some(no)).0.expect_err(no);
            assert!(exit == Exit::Failed && said.contains("nothing was done"), "{no}: {said}");
        }
        let (refused, talk) = asked(None);
        let (exit, said) = refused.expect_err("nobody");
        assert!(exit == Exit::Usage && said.contains("--yes") && said.contains("nothing was done"), "{said}");
        assert_eq!(talk, "", "a question that nobody can answer is not put");
    }
}
