//! What systemd tells a service in its environment: where to say that it is ready, and how often to say that it lives.

use std::ffi::OsString;
use std::time::Duration;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// A datagram socket: a path, or a name behind `@`.
    pub notify: Option<OsString>,
    /// The service is ended when it says nothing for so long.
    pub watchdog: Option<Duration>,
}

impl Service {
    /// Of this process.
    pub fn of_environment() -> Self {
        #[allow(clippy::disallowed_methods)] // no setting: a word between systemd and its service
        Self::read(|name| std::env::var_os(name), std::process::id())
    }

    fn read(variable: impl Fn(&str) -> Option<OsString>, process: u32) -> Self {
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        let notify = variable("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
        // A child inherits the variables of its parent; the watchdog is for the one that is named.
        let is_meant = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(process.into());
        let watchdog = number("WATCHDOG_USEC").filter(|micros| *micros > 0 && is_meant);
        Self {
            watchdog: watchdog.filter(|_| notify.is_some()).map(Duration::from_micros),
            notify,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Service;
    use std::time::Duration;

    fn check(variables: &[(&str, &str)], expected: (Option<&str>, Option<u64>)) {
        let read = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.into())
        };
        let service = Service {
            notify: expected.0.map(Into::into),
            watchdog: expected.1.map(Duration::from_millis),
        };
        assert_eq!(Service::read(read, 7), service, "{variables:?}");
    }

    #[test]
    fn only_what_is_meant_for_this_process_counts() {
        check(&[], (None, None));
        check(&[("NOTIFY_SOCKET", "")], (None, None));
        check(&[("NOTIFY_SOCKET", "/run/x")], (Some("/run/x"), None));
        let watched = [("NOTIFY_SOCKET", "@x"), ("WATCHDOG_USEC", "30000000")];
        check(&watched, (Some("@x"), Some(30_000)));
        check(
            &[&watched[..], &[("WATCHDOG_PID", "7")]].concat(),
            (Some("@x"), Some(30_000)),
        );
        check(&[&watched[..], &[("WATCHDOG_PID", "8")]].concat(), (Some("@x"), None));
        check(&[("WATCHDOG_USEC", "30000000")], (None, None));
        check(&[("NOTIFY_SOCKET", "@x"), ("WATCHDOG_USEC", "0")], (Some("@x"), None));
    }
}
