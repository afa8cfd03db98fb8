//! Bearer tokens.

use axum::extract::Path;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use jiff::{SignedDuration, Timestamp};

use super::{Call, ListResult, Sent};
use crate::access::rights::Right;
use crate::api::ApiState;
use crate::api::error::Error;
use crate::api::execute::{apply, done};
use crate::control::{CreateToken, RevokeToken, RotateToken, TokenCreated};
use crate::model::{actions, token};
use crate::types::{Done, List, NewToken, Token};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/tokens", get(tokens).post(create_token))
        .route("/tokens/{name}", delete(revoke_token))
        .route("/tokens/{name}/rotate", post(rotate_token))
}

/// `GET /v1/tokens`
async fn tokens(Call { state, caller }: Call) -> ListResult<Token> {
    let view = state.control.view();
    view.rights(&caller).demand(&Right::anywhere(actions::read(actions::TOKENS)))?;
    Ok(Json(List::new(view.state.tokens.values().map(without_secret).collect())))
}

/// `POST /v1/tokens`
async fn create_token(
    Call { state, caller }: Call,
    Sent(NewToken { name, lifetime_seconds }): Sent<NewToken>,
) -> ListResult<Token> {
    let name = name.parse().map_err(|error| Error::bad_value("name", error))?;
    let lifetime = SignedDuration::from_secs(i64::try_from(lifetime_seconds).unwrap_or(i64::MAX));
    let random = random()?;
    let (made, _) = apply(state, caller, CreateToken { name, lifetime, random }).await?;
    Ok(with_secret(&made))
}

/// `POST /v1/tokens/{name}/rotate`
async fn rotate_token(Call { state, caller }: Call, Path(name): Path<String>) -> ListResult<Token> {
    let name = name.parse().map_err(|error| Error::bad_value("name", error))?;
    let (made, _) = apply(state, caller, RotateToken { name, random: random()? }).await?;
    Ok(with_secret(&made))
}

/// 256 bits from the system's generator.
fn random() -> Result<Box<[u8; 32]>, Error> {
    let mut random = Box::new([0; 32]);
    getrandom::fill(&mut *random).map_err(|error| Error::internal(&std::io::Error::other(error.to_string())))?;
    Ok(random)
}

/// The one answer that holds a secret.
fn with_secret(made: &TokenCreated) -> Json<List<Token>> {
    let secret = Some(made.secret.expose().to_owned());
    Json(List::one(Token { secret, ..without_secret(&made.token) }))
}

/// `DELETE /v1/tokens/{name}`
async fn revoke_token(Call { state, caller }: Call, Path(name): Path<String>) -> ListResult<Done> {
    let name = name.parse().map_err(|error| Error::bad_value("name", error))?;
    done(state, caller, RevokeToken { name }).await
}

fn without_secret(token: &token::Token) -> Token {
    let time = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    Token {
        name: token.name.to_string(),
        id: token.id.to_string(),
        created_at: time(token.created_at),
        created_by: token.created_by.to_string(),
        expires_at: time(token.expires_at),
        ..Token::default()
    }
}
