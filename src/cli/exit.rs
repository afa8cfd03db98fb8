//! How a command ends: the table of exit codes, and failures that say what to do.

use std::fmt;
use std::io;

use crate::types::{API_VERSION, ErrorBody};

/// Exit codes, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It is done.
    Done = 0,
    /// It failed for a reason that no other code names.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The daemon runs and is not ready.
    NotReady = 3,
    /// What it names does not exist.
    NotFound = 4,
    /// It contradicts what is there.
    Conflict = 5,
    /// The caller may not do that.
    Denied = 6,
    /// No daemon answers.
    Unreachable = 7,
    /// What it waited for did not come in time.
    TimedOut = 8,
    /// Something would be changed (`apply --dry-run --exit-code`).
    Differs = 9,
    /// The configuration is wrong (`EX_CONFIG` of sysexits).
    BadConfig = 78,
}

/// Printed by `--help`, so that scripts need no other page.
pub(super) const TABLE: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not ready, 4 not found, 5 conflict, \
                                6 denied, 7 no daemon answers, 8 timed out, 9 there are changes (`apply --dry-run --exit-code`), \
                                78 bad configuration";

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that failed: its exit code, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Its exit code.
    pub exit: Exit,
    /// One sentence, without `privlink:` before it; empty: all was said already.
    pub message: String,
    /// What to do, one line each.
    pub remedies: Vec<String>,
    /// What the daemon said, whole.
    pub(super) body: Option<Box<ErrorBody>>,
}

/// A failure as JSON.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Versioned<'a> {
    api_version: &'static str,
    #[serde(flatten)]
    body: &'a ErrorBody,
}

impl Error {
    /// A failure for which nobody knows what to do.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), remedies: Vec::new(), body: None }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedies.push(remedy.into());
        self
    }

    /// The configuration is wrong; `report` says where, line by line.
    pub fn bad_config(report: &impl fmt::Display) -> Self {
        Self::new(Exit::BadConfig, report.to_string().trim_end())
    }

    /// What the daemon refused with HTTP status `status`.
    pub(super) fn refused(status: u16, body: &ErrorBody) -> Self {
        let exit = match status {
            401 | 403 => Exit::Denied,
            422 => Exit::BadConfig,
            404 => Exit::NotFound,
            409 | 412 => Exit::Conflict,
            400 if body.error.code == "InvalidConfiguration" => Exit::BadConfig,
            // Azure has another status for some of them.
            400 if body.is_conflict() => Exit::Conflict,
            503 => Exit::NotReady,
            _ => Exit::Failed,
        };
        let remedies = body.remedies().map(str::to_owned).collect();
        Self { exit, message: body.error.message.clone(), remedies, body: Some(Box::new(body.clone())) }
    }

    /// `{"apiVersion":…,"error":{…}}`, with the daemon's codes; a failure of its own is named by its exit code.
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        let own = || {
            let body = ErrorBody::new(format!("{:?}", self.exit), &self.message);
            self.remedies.iter().fold(body, ErrorBody::with_remedy)
        };
        let body = self.body.as_deref().cloned().unwrap_or_else(own);
        serde_json::to_string_pretty(&Versioned { api_version: API_VERSION, body: &body })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A report on a file begins with the file's name, as editors and people expect.
        let speaker = if self.exit == Exit::BadConfig { "" } else { "privlink: " };
        write!(f, "{speaker}{}", self.message)?;
        // A report on a file holds its mistakes already.
        let rules = self.body.iter().filter(|_| self.exit != Exit::BadConfig).flat_map(|body| body.mistakes());
        // The message tells the first ones already.
        let rules = rules.filter(|mistake| !self.message.contains(mistake));
        rules.into_iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))?;
        self.remedies.iter().try_for_each(|remedy| write!(f, "\n  {remedy}"))
    }
}

impl std::error::Error for Error {}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        error.downcast().unwrap_or_else(|error| Self::new(Exit::Failed, format!("{error:#}")))
    }
}

/// Writing to standard output failed. A reader that has seen enough (`privlink flows | head`) ends
/// the command without a word.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Done, "");
        }
        Self::new(Exit::Failed, format!("what there is to say cannot be written: {error}"))
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_http_status_has_its_exit_code() {
        for (status, exit) in [
            (400, Exit::Failed),
            (403, Exit::Denied),
            (404, Exit::NotFound),
            (409, Exit::Conflict),
            (412, Exit::Conflict),
            (413, Exit::Failed),
            (500, Exit::Failed),
            (503, Exit::NotReady),
        ] {
            assert_eq!(Error::refused(status, &ErrorBody::new("X", "x")).exit, exit, "{status}");
        }
    }

    #[test]
    fn a_conflict_is_one_whatever_status_azure_gives_it() {
        let exit = |body: &ErrorBody| Error::refused(400, body).exit;
        let several = |codes: &[&str]| {
            let mut body = ErrorBody::new("InvalidModel", "these rules");
            body.error.details.extend(codes.iter().map(|code| ErrorBody::new(*code, "a rule").error));
            body.with_remedy("correct it")
        };
        for (body, expected) in [
            (ErrorBody::new("PrivateIPAddressInUse", "x").with_remedy("y"), Exit::Conflict),
            (ErrorBody::new("RoleDefinitionHasAssignments", "x"), Exit::Conflict),
            (ErrorBody::new("PrivateLinkServiceCannotBeDeletedWithPrivateEndpointConnections", "x"), Exit::Conflict),
            (ErrorBody::new("InvalidRequestFormat", "x").with_remedy("y"), Exit::Failed),
            (several(&["NameInUse", "PrivateIPAddressInUse"]), Exit::Conflict),
            (several(&["NameInUse", "InvalidPrefix"]), Exit::Failed),
        ] {
            assert_eq!(exit(&body), expected, "{body:?}");
        }
    }

    #[test]
    fn a_failure_says_what_to_do_on_a_line_of_its_own() {
        let body = ErrorBody::new("ResourceNotFound", "no endpoint `x`").with_remedy("privlink endpoint list");
        let text = Error::refused(404, &body).to_string();
        assert_eq!(text, "privlink: no endpoint `x`\n  privlink endpoint list");
    }

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        let failure = Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Done, ""));
    }
}
