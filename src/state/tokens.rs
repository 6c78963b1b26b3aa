//! API tokens as every node knows them: their hashes and what they say, never the secrets.

use super::command::NewToken;
use super::{Effect, Outcome, Refused, RowKey, State};
use crate::model::{Caller, Millis};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A token that has ended is remembered for this long, so that its bearer is told so.
pub const ENDED_KEPT_MS: u64 = 3_600_000;
/// Ended tokens that one tick forgets at most.
const FORGOTTEN_MAX: usize = 1_024;

/// SHA-256 of the whole token.
pub type TokenHash = [u8; 32];

/// One token. Its caller carries the token's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub hash: TokenHash,
    pub caller: Arc<Caller>,
    pub created_at: Millis,
    /// From then on it is worth nothing; `None`: until it is revoked.
    pub expires_at: Option<Millis>,
}

impl Token {
    pub fn has_ended(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }
}

#[derive(Debug, Default)]
pub struct Tokens {
    by_id: BTreeMap<String, Token>,
    /// Looked up, never walked. A hash tells nothing of the token that it was made from, so how long the look takes does not
    /// either.
    by_hash: HashMap<TokenHash, String>,
    /// Those that end, in the order of their ends.
    ends: BTreeSet<(Millis, String)>,
}

impl Tokens {
    pub fn get(&self, id: &str) -> Option<&Token> {
        self.by_id.get(id)
    }

    pub fn find(&self, hash: &TokenHash) -> Option<(&str, &Token)> {
        let (id, token) = self.by_id.get_key_value(self.by_hash.get(hash)?)?;
        Some((id, token))
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Token)> {
        self.by_id.iter().map(|(id, token)| (id.as_str(), token))
    }

    /// Tokens whose id comes after this one, in the order of ids.
    pub fn after(&self, after: Option<&str>) -> impl Iterator<Item = (&str, &Token)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let behind = self.by_id.range::<str, _>((from, Unbounded));
        behind.map(|(id, token)| (id.as_str(), token))
    }

    pub(super) fn insert(&mut self, id: String, token: Token) {
        if let Some(end) = token.expires_at {
            self.ends.insert((end, id.clone()));
        }
        self.by_hash.insert(token.hash, id.clone());
        self.by_id.insert(id, token);
    }

    fn remove(&mut self, id: &str) -> Option<Token> {
        let token = self.by_id.remove(id)?;
        self.by_hash.remove(&token.hash);
        if let Some(end) = token.expires_at {
            self.ends.remove(&(end, id.to_owned()));
        }
        Some(token)
    }

    /// The longest ended tokens that need not be remembered any more.
    fn forgettable(&self, now: Millis) -> Vec<String> {
        let before = now.saturating_sub_unsigned(ENDED_KEPT_MS);
        let over = self.ends.iter().take_while(|(end, _)| *end <= before);
        over.take(FORGOTTEN_MAX).map(|(_, id)| id.clone()).collect()
    }

    fn of_user(&self, user: &str) -> Vec<String> {
        let theirs = |token: &Token| token.caller.user.as_deref() == Some(user);
        let found = self.by_id.iter().filter(|(_, token)| theirs(token));
        found.map(|(id, _)| id.clone()).collect()
    }
}

impl State {
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The same token again changes nothing: whoever forwards a command may repeat it.
    pub(super) fn create_token(&mut self, new: NewToken) -> Result<Outcome, Refused> {
        let NewToken {
            id,
            hash,
            caller,
            expires_at,
            tokens_max,
        } = new;
        match self.tokens.get(&id) {
            Some(known) if known.hash == hash => return Ok(Outcome::Done),
            Some(_) => return Err(Refused::TokenExists(id)),
            None if self.tokens.len() as u64 >= tokens_max => return Err(Refused::TokensFull(tokens_max)),
            None => {}
        }
        self.check_named(&caller)?;
        let token = Token {
            hash,
            caller: Arc::new(caller),
            created_at: self.counters.log_time,
            expires_at,
        };
        self.changed.insert(RowKey::Token(id.clone()));
        self.tokens.insert(id, token);
        Ok(Outcome::Done)
    }

    /// Whom and what a token names must be there when it is made; what it may do is looked at when it is used.
    fn check_named(&self, caller: &Caller) -> Result<(), Refused> {
        let directory = &self.directory;
        if let Some(user) = &caller.user
            && directory.user_number(user).is_none()
        {
            return Err(Refused::UnknownUser(user.clone()));
        }
        if let Some(id) = caller.weddings.iter().find(|id| directory.wedding(id).is_none()) {
            return Err(Refused::UnknownWedding(id.clone()));
        }
        match caller.venues.iter().find(|id| directory.venue(id).is_none()) {
            Some(id) => Err(Refused::UnknownVenue(id.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn revoke_token(&mut self, id: &str, effects: &mut Vec<Effect>) -> Result<Outcome, Refused> {
        if self.drop_token(id) {
            effects.push(Effect::Revoked(id.to_owned()));
            Ok(Outcome::Done)
        } else {
            Err(Refused::UnknownToken(id.to_owned()))
        }
    }

    /// Somebody who comes back under the same id is not let in with what the one before them was given.
    pub(super) fn revoke_tokens_of(&mut self, user: &str, effects: &mut Vec<Effect>) {
        for id in self.tokens.of_user(user) {
            self.drop_token(&id);
            effects.push(Effect::Revoked(id));
        }
    }

    pub(super) fn forget_tokens(&mut self) {
        for id in self.tokens.forgettable(self.counters.log_time) {
            self.drop_token(&id);
        }
    }

    fn drop_token(&mut self, id: &str) -> bool {
        let is_there = self.tokens.remove(id).is_some();
        if is_there {
            self.changed.insert(RowKey::Token(id.to_owned()));
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::{ENDED_KEPT_MS, FORGOTTEN_MAX};
    use crate::model::directory::User;
    use crate::model::{Caller, Millis, Scope};
    use crate::state::command::{Change, NewToken, Tick};
    use crate::state::{Command, Effect, Outcome, Refused, RowKey, State};

    const NOON: Millis = 1_800_000_000_000;

    /// A state with the user `ann`, and what its commands come to.
    struct Bench {
        state: State,
        effects: Vec<Effect>,
        at: Millis,
    }

    impl Bench {
        fn new() -> Self {
            let mut bench = Self {
                state: State::new(),
                effects: Vec::new(),
                at: NOON,
            };
            bench.run(put("ann"));
            bench
        }

        fn run(&mut self, command: Command) -> Outcome {
            let index = self.state.applied() + 1;
            let mut outcomes = self.state.apply(index, self.at, vec![command], &mut self.effects);
            outcomes.remove(0)
        }

        fn tick(&mut self) {
            self.run(Command::Tick(Tick {
                kept_ms: 1,
                missed_after_ms: 1,
                retry: crate::model::Retry::DEFAULT,
            }));
        }
    }

    fn put(id: &str) -> Command {
        Command::Directory(vec![Change::PutUser(User {
            id: id.into(),
            role: "dj".into(),
            tier: "starter".into(),
            locale: "en".into(),
            timezone: "UTC".into(),
            attributes: Vec::new(),
        })])
    }

    fn new(id: &str, hash: u8, user: Option<&str>) -> NewToken {
        NewToken {
            id: id.into(),
            hash: [hash; 32],
            caller: Caller {
                token: Some(id.into()),
                user: user.map(str::to_owned),
                role: "dj".into(),
                weddings: Vec::new(),
                venues: Vec::new(),
                scopes: [Scope::Publish].into_iter().collect(),
            },
            expires_at: None,
            tokens_max: 3,
        }
    }

    fn create(new: NewToken) -> Command {
        Command::CreateToken(Box::new(new))
    }

    #[test]
    fn a_token_is_found_by_its_hash_until_it_is_revoked() {
        let mut bench = Bench::new();
        assert_eq!(bench.run(create(new("t-1", 1, Some("ann")))), Outcome::Done);
        let found = bench.state.tokens().find(&[1; 32]).unwrap();
        assert_eq!((found.0, found.1.caller.user.as_deref()), ("t-1", Some("ann")));
        assert!(bench.state.tokens().find(&[2; 32]).is_none());
        assert_eq!(bench.run(Command::RevokeToken("t-1".into())), Outcome::Done);
        assert!(bench.state.tokens().find(&[1; 32]).is_none());
        assert!(matches!(bench.effects.last(), Some(Effect::Revoked(id)) if id == "t-1"));
        let again = bench.run(Command::RevokeToken("t-1".into()));
        assert_eq!(again, Outcome::Refused(Refused::UnknownToken("t-1".into())));
    }

    #[test]
    fn the_same_token_again_changes_nothing_and_another_of_its_id_is_refused() {
        let mut bench = Bench::new();
        bench.run(create(new("t-1", 1, None)));
        assert_eq!(bench.run(create(new("t-1", 1, None))), Outcome::Done);
        let other = bench.run(create(new("t-1", 2, None)));
        assert_eq!(other, Outcome::Refused(Refused::TokenExists("t-1".into())));
        assert_eq!(bench.state.tokens().len(), 1);
    }

    #[test]
    fn what_a_token_names_must_be_there() {
        let mut bench = Bench::new();
        let check = |bench: &mut Bench, new: NewToken, refused: Refused| {
            assert_eq!(bench.run(create(new)), Outcome::Refused(refused));
        };
        check(&mut bench, new("t", 1, Some("bob")), Refused::UnknownUser("bob".into()));
        let mut of_wedding = new("t", 1, None);
        of_wedding.caller.weddings = vec!["w".into()];
        check(&mut bench, of_wedding, Refused::UnknownWedding("w".into()));
        let mut of_venue = new("t", 1, None);
        of_venue.caller.venues = vec!["v".into()];
        check(&mut bench, of_venue, Refused::UnknownVenue("v".into()));
    }

    #[test]
    fn there_are_only_so_many() {
        let mut bench = Bench::new();
        for number in 1..=3 {
            assert_eq!(
                bench.run(create(new(&format!("t-{number}"), number, None))),
                Outcome::Done
            );
        }
        let one_more = bench.run(create(new("t-4", 4, None)));
        assert_eq!(one_more, Outcome::Refused(Refused::TokensFull(3)));
    }

    #[test]
    fn who_is_erased_loses_their_tokens_and_does_not_get_them_back() {
        let mut bench = Bench::new();
        bench.run(create(new("t-1", 1, Some("ann"))));
        bench.run(create(new("t-2", 2, None)));
        bench.run(Command::Directory(vec![Change::DeleteUser("ann".into())]));
        assert!(matches!(bench.effects.last(), Some(Effect::Revoked(id)) if id == "t-1"));
        bench.run(put("ann"));
        assert!(bench.state.tokens().find(&[1; 32]).is_none());
        assert!(bench.state.tokens().find(&[2; 32]).is_some());
    }

    #[test]
    fn an_ended_token_is_remembered_for_a_while_and_a_tick_forgets_only_so_many() {
        let mut bench = Bench::new();
        let count = FORGOTTEN_MAX + 1;
        for number in 0..count {
            let mut ending = new(&format!("t-{number}"), 0, None);
            ending.hash[..8].copy_from_slice(&number.to_be_bytes());
            ending.expires_at = Some(NOON + 1);
            ending.tokens_max = u64::MAX;
            bench.run(create(ending));
        }
        bench.at = NOON + ENDED_KEPT_MS as Millis;
        bench.tick();
        assert_eq!(bench.state.tokens().len(), count);
        assert!(bench.state.tokens().get("t-0").unwrap().has_ended(bench.at));
        bench.at += 1;
        bench.tick();
        assert_eq!(bench.state.tokens().len(), 1);
        bench.tick();
        assert!(bench.state.tokens().is_empty());
    }

    #[test]
    fn tokens_survive_a_start_and_count_in_the_hash() {
        let mut bench = Bench::new();
        let without = bench.state.hash();
        bench.run(create(new("t-1", 1, Some("ann"))));
        assert_ne!(bench.state.hash(), without);
        let mut restored = State::new();
        for row in bench.state.take_rows() {
            if let Some(value) = &row.value {
                restored.load(&row.key, value).unwrap();
            }
        }
        restored.loaded(bench.state.applied());
        assert_eq!(restored.hash(), bench.state.hash());
        assert_eq!(restored.tokens().find(&[1; 32]), bench.state.tokens().find(&[1; 32]));
        bench.run(Command::RevokeToken("t-1".into()));
        let rows = bench.state.take_rows();
        let gone = rows.iter().find(|row| row.key == RowKey::Token("t-1".into())).unwrap();
        assert_eq!(gone.value, None);
    }

    #[test]
    fn tokens_are_listed_in_the_order_of_their_ids() {
        let mut bench = Bench::new();
        for (id, hash) in [("t-2", 2), ("t-1", 1), ("t-3", 3)] {
            bench.run(create(new(id, hash, None)));
        }
        let after: Vec<&str> = bench.state.tokens().after(Some("t-1")).map(|(id, _)| id).collect();
        assert_eq!(after, ["t-2", "t-3"]);
    }
}
