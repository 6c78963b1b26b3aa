//! How the stage is set: nodes of its own are started, those of others are found and looked at.

use super::{ASK_MAX, DESK, SIREN, Stage, Unreachable};
use crate::lab::cluster::{Cluster, Settings};
use crate::lab::door::Way;
use crate::lab::http::{self, Call};
use crate::lab::load::stage::{Where, way};
use crate::lab::served::Served;
use crate::lab::sink::Sink;
use crate::lab::tokens::bearer;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

impl Stage {
    pub async fn set(place: &Where, seed: u64) -> Result<Self> {
        let mut stage = Self {
            nodes: Vec::new(),
            bearer: String::new(),
            has_tokens: true,
            served: Served::Own,
            seed,
            prefix: format!("validate-{:08x}-", rand::random::<u32>()),
            made: Vec::new(),
            cluster: None,
            sink: None,
            held: None,
        };
        match place {
            Where::Own { set, .. } => stage.start(set).await?,
            Where::There { urls, token, authority } => stage.find(urls, token.as_deref(), authority).await?,
        }
        Ok(stage)
    }

    /// Three nodes whose outputs lead here; every request needs a token.
    async fn start(&mut self, set: &[String]) -> Result<()> {
        let sink = Sink::start([DESK, SIREN].map(String::from).into()).await?;
        let mut all = sink.settings();
        all.push(format!("alerts.outputs=[\"{DESK}\"]"));
        all.extend_from_slice(set);
        let mut cluster = Cluster::start(Settings {
            program: None,
            port: None,
            data: None,
            set: all,
            auth: true,
            tls: false,
        })?;
        cluster.ready().await?;
        self.nodes = cluster.way()?.doors()?;
        self.bearer = cluster.admin_token().map(bearer).unwrap_or_default();
        (self.cluster, self.sink) = (Some(cluster), Some(sink));
        Ok(())
    }

    async fn find(&mut self, urls: &[String], token: Option<&str>, authority: &str) -> Result<()> {
        let way = Way {
            authority: authority.to_owned(),
            ..way(urls).await?
        };
        self.nodes = way.doors()?;
        for (node, url) in self.nodes.iter().zip(urls) {
            let unreachable = |why: String| Unreachable { url: url.clone(), why };
            let ready = http::call(node.clone(), &Call::get("/readyz?write=1"), ASK_MAX).await;
            let ready = ready.map_err(|error| unreachable(error.to_string()))?;
            if ready.status != 200 {
                bail!("{url} takes no writes: {} {}", ready.status, ready.code());
            }
        }
        let first = self.nodes.first().context("no node")?.clone();
        let asked = http::call(first, &Call::get("/v1/cluster"), ASK_MAX).await?;
        self.has_tokens = asked.status == 401;
        if self.has_tokens {
            let token = token.context("the nodes ask for a token: give an administrator's with --token")?;
            self.bearer = bearer(token);
        }
        self.distinct(urls).await?;
        self.served = Served::of(&self.get(0, "/v1/cluster").await?);
        Ok(())
    }

    /// A node that is named twice would be looked at as two.
    async fn distinct(&self, urls: &[String]) -> Result<()> {
        let mut seen = BTreeMap::new();
        for (at, url) in urls.iter().enumerate() {
            let told = self.get(at, "/v1/cluster").await.with_context(|| url.clone())?;
            let node = told["node"].as_u64();
            let node = node.with_context(|| format!("{url} does not say which node it is"))?;
            if let Some(other) = seen.insert(node, url) {
                bail!("{url} is node {node}, and so is {other}: name each node once");
            }
        }
        Ok(())
    }
}
