//! Minting, authenticating, and everything that is not accepted.

use proptest::prelude::*;

use super::*;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn minted(name: &str, random: u8) -> (Token, Secret) {
    mint(name.parse().unwrap(), Principal::Uid(1000), now(), DEFAULT_LIFETIME, &[random; 32]).unwrap()
}

fn kept(tokens: &[&Token]) -> Map<Token, TokenName> {
    tokens.iter().map(|token| (token.name.clone(), (*token).clone())).collect()
}

#[test]
fn a_token_is_accepted_until_it_expires() {
    let (token, secret) = minted("ci", 7);
    let tokens = kept(&[&token, &minted("other", 8).0]);
    assert_eq!(token.expires_at, now() + DEFAULT_LIFETIME);
    let moment = SignedDuration::from_nanos(1);
    for (at, expected) in [
        (now(), Ok(&token)),
        (token.expires_at - moment, Ok(&token)),
        (token.expires_at, Err(TokenError::Expired(token.expires_at))),
        (token.expires_at + HOUR, Err(TokenError::Expired(token.expires_at))),
    ] {
        assert_eq!(authenticate(secret.expose(), &tokens, at), expected, "{at}");
    }
    assert_eq!(token.principal().to_string(), "token:ci");
}

#[test]
fn the_format_is_prefix_name_secret_and_checksum() {
    let (_, secret) = minted("ci", 0xab);
    let stem = format!("plk_ci_{}", "ab".repeat(32));
    assert_eq!(&secret.expose()[..stem.len()], stem);
    assert_eq!(secret.expose().len(), stem.len() + 8);
}

#[test]
fn a_wrong_secret_an_absent_token_and_a_revoked_one_get_one_answer() {
    let (token, secret) = minted("ci", 7);
    let (_, forged) = minted("ci", 8);
    let (_, absent) = minted("other", 7);
    let tokens = kept(&[&token]);
    assert_eq!(authenticate(forged.expose(), &tokens, now()), Err(TokenError::Unknown));
    assert_eq!(authenticate(absent.expose(), &tokens, now()), Err(TokenError::Unknown));
    // Nor does a wrong secret learn that the token has expired.
    assert_eq!(authenticate(forged.expose(), &tokens, token.expires_at), Err(TokenError::Unknown));
    assert_eq!(authenticate(secret.expose(), &Map::default(), now()), Err(TokenError::Unknown));
}

#[test]
fn the_secret_of_a_token_opens_no_other() {
    let (ci, _) = minted("ci", 7);
    let (other, secret) = minted("other", 8);
    let tokens = kept(&[&ci, &other]);
    assert_eq!(authenticate(secret.expose(), &tokens, now()).unwrap().name, other.name);
    let (_, renamed) = minted("ci", 8);
    assert_eq!(authenticate(renamed.expose(), &tokens, now()), Err(TokenError::Unknown));
}

#[test]
fn what_is_no_whole_token_is_malformed() {
    let (token, secret) = minted("ci", 7);
    let tokens = kept(&[&token]);
    let whole = secret.expose();
    for text in [
        "",
        "plk_",
        "plk_ci_",
        "plk__",
        &whole[1..],
        &whole[..whole.len() - 1],
        &format!("{whole}0"),
        &whole.to_uppercase(),
        &whole.replace("plk", "tok"),
        &whole.replace("_ci_", "_c_i_"),
        &whole.replace("_ci_", "_CI_"),
        &format!(" {whole}"),
        "plk_ci_ä",
        "plk_ci_0äääääääää",
    ] {
        assert_eq!(authenticate(text, &tokens, now()), Err(TokenError::Malformed), "{text}");
    }
}

#[test]
fn a_lifetime_is_positive_and_bounded() {
    let mint = |lifetime| mint("ci".parse().unwrap(), Principal::Uid(0), now(), lifetime, &[1; 32]);
    for lifetime in [SignedDuration::ZERO, -HOUR, MAX_LIFETIME + HOUR, SignedDuration::MAX, SignedDuration::MIN] {
        assert_eq!(mint(lifetime).unwrap_err(), BadLifetime(lifetime));
    }
    let said = BadLifetime(SignedDuration::from_hours(24 * 4_000)).to_string();
    assert!(said.ends_with("at most 3660 days, not 4000 days"), "{said}");
    assert!(BadLifetime(-HOUR).to_string().ends_with("not -1 hours"), "in the largest unit that fits");
    assert_eq!(mint(MAX_LIFETIME).unwrap().0.expires_at, now() + MAX_LIFETIME);
    let late = crate::model::token::mint("ci".parse().unwrap(), Principal::Uid(0), Timestamp::MAX, HOUR, &[1; 32]);
    assert_eq!(late.unwrap_err(), BadLifetime(HOUR));
}

#[test]
fn neither_secret_nor_random_bytes_are_shown_or_stored() {
    let (token, secret) = minted("ci", 0xab);
    let stored = serde_json::to_string(&token).unwrap();
    for text in [format!("{secret:?}"), format!("{token:?}"), stored.clone()] {
        assert!(!text.contains("abab"), "{text}");
    }
    let read: Token = serde_json::from_str(&stored).unwrap();
    assert_eq!(read, token);
    assert!(authenticate(secret.expose(), &kept(&[&read]), now()).is_ok());
    let damaged = stored.replacen("\"hash\":\"", "\"hash\":\"0", 1);
    assert!(serde_json::from_str::<Token>(&damaged).is_err());
}

#[test]
fn the_last_use_is_that_of_the_token_and_not_of_its_predecessor() {
    let used = LastUsed::default();
    let (old, _) = minted("ci", 7);
    assert_eq!(used.of(&old), None);
    used.note(&old, now() + HOUR);
    assert_eq!(used.of(&old), Some(now() + HOUR));
    let new = Token { created_at: now() + HOUR + HOUR, ..old.clone() };
    assert_eq!(used.of(&new), None);
    used.forget(&old.name);
    assert_eq!(used.of(&old), None);
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    #[test]
    fn one_changed_character_is_never_accepted(
        random in any::<[u8; 32]>(), at in any::<prop::sample::Index>(), with in "[ -~]",
    ) {
        let name: TokenName = "ci".parse().unwrap();
        let (token, secret) = mint(name, Principal::Uid(0), now(), HOUR, &random).unwrap();
        let at = at.index(secret.expose().len());
        let mut changed = secret.expose().to_owned();
        changed.replace_range(at..=at, &with);
        prop_assume!(changed != secret.expose());
        let tokens = kept(&[&token]);
        prop_assert_eq!(authenticate(&changed, &tokens, now()), Err(TokenError::Malformed));
    }

    #[test]
    fn no_text_is_accepted_or_makes_it_panic(text in ".{0,120}", tail in "[_a-z0-9ä]{0,90}") {
        let tokens = kept(&[&minted("ci", 7).0]);
        for text in [&text, &format!("plk_{tail}"), &format!("plk_ci_{tail}")] {
            prop_assert!(authenticate(text, &tokens, now()).is_err());
        }
    }
}
