//! How a command fails: what happened, what to try, and an exit code that scripts can rely on.

use super::output;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;

/// Exit codes, as the help texts state them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Whoever read our output has gone: nothing to say, nothing wrong.
    Done = 0,
    Failed = 1,
    /// Wrong arguments or settings.
    Usage = 2,
    /// `who`: somebody is not done, or said something other than ok.
    Waiting = 3,
    /// `validate`: nothing failed, and not every check was run.
    NotRun = 4,
    /// No node could be reached (`EX_UNAVAILABLE`).
    Unreachable = 69,
    /// The disk failed or is full (`EX_IOERR`).
    Disk = 74,
    /// It may have happened or not (`EX_TEMPFAIL`).
    Unknown = 75,
}

/// A failed command, in words for the person who typed it.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub what: String,
    /// More lines, such as one for each fault.
    pub details: Vec<String>,
    pub hint: Option<String>,
    /// The server's problem document, whole, for `--json`.
    pub problem: Option<Box<Value>>,
}

impl Failure {
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            details: Vec::new(),
            hint: None,
            problem: None,
        }
    }

    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what)
    }

    #[must_use]
    pub fn details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A problem document (RFC 9457) as its title, detail, code and faults.
    pub fn problem(status: u16, body: &[u8]) -> Self {
        let Ok(problem) = serde_json::from_slice::<Value>(body) else {
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            return Self::failed(format!("the node answered {status}")).details(vec![text]);
        };
        let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut what = format!("{} ({status}", text("title"));
        if !text("code").is_empty() {
            let _ = write!(what, " {}", text("code"));
        }
        what.push(')');
        let mut details = Vec::new();
        let faults = problem.get("errors").and_then(Value::as_array);
        let faults = faults.map_or(&[][..], Vec::as_slice);
        // With faults of its own, the detail only sums them up.
        if faults.is_empty() && !text("detail").is_empty() && text("detail") != text("title") {
            details.push(text("detail").to_owned());
        }
        for fault in faults {
            let part = |name: &str| fault.get(name).and_then(Value::as_str).unwrap_or_default();
            details.push(format!("{}: {} ({})", part("pointer"), part("detail"), part("code")));
        }
        let hint = hint_for(status);
        let mut failure = Self::failed(what).details(details);
        failure.hint = hint.map(str::to_owned);
        failure.problem = Some(Box::new(problem));
        failure
    }

    /// Says it on stderr and gives the exit code.
    pub fn tell(&self, as_json: bool) -> ExitCode {
        if self.exit == Exit::Done {
            return ExitCode::SUCCESS;
        }
        if as_json {
            output::complain(&self.json().to_string());
        } else {
            let (red, dim) = (output::BAD, output::DIM);
            let mut text = format!("{red}error{red:#}: {}", self.what);
            for detail in &self.details {
                let _ = write!(text, "\n  {detail}");
            }
            if let Some(hint) = &self.hint {
                let _ = write!(text, "\n{dim}try: {hint}{dim:#}");
            }
            output::complain(&text);
        }
        ExitCode::from(self.exit as u8)
    }

    fn json(&self) -> Value {
        let mut error = json!({
            "error": self.what,
            "exit": self.exit as u8,
        });
        if !self.details.is_empty() {
            error["details"] = json!(self.details);
        }
        if let Some(hint) = &self.hint {
            error["try"] = json!(hint);
        }
        if let Some(problem) = &self.problem {
            error["problem"] = (**problem).clone();
        }
        error
    }
}

fn hint_for(status: u16) -> Option<&'static str> {
    match status {
        401 => Some("give a token with --token or CAMPANILE_TOKEN"),
        403 => Some("a token of the right user and scope; `campanile token create --help` says what each scope is for"),
        404 => Some("`campanile status` shows whether this node is one of yours; is the id right?"),
        503 => Some("`campanile status` shows who leads; the node may be starting, stopping or cut off"),
        507 => Some("free space on the nodes' disks"),
        _ => None,
    }
}

/// Errors of parts without words of their own: the whole chain, and the disk's exit code when the disk is the cause.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        if let Some(faults) = error.downcast_ref::<crate::config::Faults>() {
            return faults.clone().into();
        }
        if let Some(unreachable) = error.downcast_ref::<crate::lab::validate::stage::Unreachable>() {
            return Self::new(Exit::Unreachable, unreachable.to_string());
        }
        let disk = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .any(is_disk);
        let exit = if disk { Exit::Disk } else { Exit::Failed };
        Self::new(exit, chain(&error))
    }
}

/// All causes in one line. Some errors of ours already carry the text of their source: it is not said twice.
fn chain(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.ends_with(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

impl From<crate::config::Faults> for Failure {
    fn from(faults: crate::config::Faults) -> Self {
        let count = faults.0.len();
        let noun = if count == 1 { "fault" } else { "faults" };
        Self::usage(format!("{count} {noun} in the settings"))
            .details(faults.0)
            .hint("`campanile config default` explains every setting")
    }
}

/// Of writing to our own output.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(Exit::Done, "nobody reads on"),
            _ if is_disk(&error) => Self::new(Exit::Disk, error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

fn is_disk(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    const EIO: i32 = 5;
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | ReadOnlyFilesystem | FileTooLarge
    ) || error.raw_os_error() == Some(EIO)
}

#[cfg(test)]
mod tests {
    use super::{Exit, Failure};
    use anyhow::Context;

    #[test]
    fn a_problem_is_told_in_its_own_words() {
        let body =
            br#"{"title": "Invalid broadcast", "status": 422, "code": "INVALID", "detail": "two fields are wrong",
            "errors": [{"pointer": "/title", "code": "TOO_LONG", "detail": "200 characters at most"}]}"#;
        let failure = Failure::problem(422, body);
        assert_eq!(failure.what, "Invalid broadcast (422 INVALID)");
        assert_eq!(failure.details, ["/title: 200 characters at most (TOO_LONG)"]);
        assert_eq!(failure.json()["problem"]["code"], "INVALID");
    }

    #[test]
    fn what_is_no_problem_document_is_shown_as_it_came() {
        let failure = Failure::problem(502, b"<html>Bad gateway</html>");
        assert_eq!(failure.what, "the node answered 502");
        assert_eq!(failure.details, ["<html>Bad gateway</html>"]);
    }

    #[test]
    fn causes_choose_the_exit_code() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = Err::<(), _>(full).context("write the log").unwrap_err();
        let failure = Failure::from(error);
        assert_eq!(
            (failure.exit, failure.what.starts_with("write the log: ")),
            (Exit::Disk, true)
        );
        let doubled = anyhow::anyhow!("no file").context("x: no file").context("the folder");
        assert_eq!(Failure::from(doubled).what, "the folder: x: no file");
        assert_eq!(Failure::from(anyhow::anyhow!("no")).exit, Exit::Failed);
        let gone = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::from(gone).exit, Exit::Done);
    }
}
