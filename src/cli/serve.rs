//! Commands that run nodes: one here (`serve`), three as processes (`dev`, `rehearse`).

use super::arguments::{Dev, Rehearse, Serve};
use super::failure::Failure;
use super::{log, settings};
use crate::lab;
use crate::lab::cluster::PARENT_PIPE;
use crate::net::files_max;
use std::io::Read;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

pub fn serve(options: &Serve, as_json: bool) -> Result<ExitCode, Failure> {
    let mut flags = Vec::new();
    if options.insecure {
        flags.push("node.insecure=true".to_owned());
    }
    if as_json {
        flags.push("log.format=json".to_owned());
    }
    let settings = settings::read(&options.settings, &flags)?;
    log::start(&settings.config.log)?;
    files_max();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("campanile-http")
        .build()?;
    let ran = runtime.block_on(async {
        let stop = stop_signal()?;
        crate::node::run(settings, stop).await
    });
    // What still runs on threads of its own has been told to end; nothing is owed to it.
    runtime.shutdown_background();
    ran?;
    Ok(ExitCode::SUCCESS)
}

/// Ends at SIGINT or SIGTERM, or when a parent that holds our standard input is gone.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let orphaned = orphaned()?;
    Ok(async move {
        let why = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            () = orphaned => "the parent process has gone",
        };
        tracing::info!("stopping: {why}");
    })
}

/// Never ends unless a parent asked for it: it holds the other end of our standard input as long as it lives.
fn orphaned() -> std::io::Result<impl Future<Output = ()>> {
    let (told, gone) = oneshot::channel();
    #[allow(clippy::disallowed_methods)] // no setting: a word between a parent process and its child
    let has_parent = std::env::var_os(PARENT_PIPE).is_some();
    if has_parent {
        std::thread::Builder::new()
            .name("campanile-parent".into())
            .spawn(move || {
                let mut stdin = std::io::stdin().lock();
                let mut waste = [0; 64];
                while matches!(stdin.read(&mut waste), Ok(count) if count > 0) {}
                let _ = told.send(());
            })?;
    }
    Ok(async move {
        if !has_parent || gone.await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

pub fn dev(options: Dev, as_json: bool) -> Result<ExitCode, Failure> {
    check(&options.set)?;
    let options = lab::dev::Options {
        port: options.port,
        data: options.data,
        json: as_json,
        respawn: options.respawn,
        auth: options.auth,
        tls: options.tls,
        set: options.set,
    };
    Ok(lab::dev::run(options)?)
}

/// Faults in settings are told here, once, and not by three processes.
fn check(set: &[String]) -> Result<(), Failure> {
    crate::config::load(None, std::iter::empty(), set)?;
    Ok(())
}

pub fn rehearse(options: Rehearse, as_json: bool) -> Result<ExitCode, Failure> {
    // Read here once more, so that a wrong name is a wrong argument.
    if let Err(error) = lab::scenario::open(&options.scenario) {
        return Err(Failure::usage(format!(
            "the scenario {:?} cannot be played: {error:#}",
            options.scenario
        )));
    }
    let options = lab::rehearse::Options {
        scenario: options.scenario,
        speed: options.speed,
        faults: options.faults,
        probing: lab::uptime::Probing::Off,
        json: as_json,
    };
    Ok(lab::rehearse::run(&options)?)
}
