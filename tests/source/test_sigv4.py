"""Signatures that AWS publishes: its SigV4 test suite and the examples of S3's documentation."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hardtack.source.sigv4 import Credentials, encode_path, encode_query, signed_headers

SUITE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SUITE_TIME = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
DOCS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
DOCS_TIME = datetime(2013, 5, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("method", "path", "query", "signature"),
    [
        ("GET", "/", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET",
            "/",
            encode_query([("Param2", "value2"), ("Param1", "value1")]),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            encode_path("/ሴ"),
            "",
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        ),
        (
            "GET",
            encode_path("/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
            "",
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
    ],
)
def test_the_published_suite(method: str, path: str, query: str, signature: str) -> None:
    headers = {"Host": "example.amazonaws.com"}
    signed = signed_headers(
        method, path, query, headers, SUITE, region="us-east-1", now=SUITE_TIME, service="service"
    )
    assert signed["Authorization"].endswith(f"Signature={signature}")


@pytest.mark.parametrize(
    ("path", "query", "headers", "signature"),
    [
        (
            "/test.txt",
            [],
            {"Range": "bytes=0-9"},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "/",
            [("lifecycle", "")],
            {},
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "/",
            [("prefix", "J"), ("max-keys", "2")],
            {},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_examples_of_the_documentation(
    path: str, query: list[tuple[str, str]], headers: dict[str, str], signature: str
) -> None:
    headers = {"Host": "examplebucket.s3.amazonaws.com", **headers}
    signed = signed_headers(
        "GET", path, encode_query(query), headers, DOCS, region="us-east-1", now=DOCS_TIME
    )
    assert signed["Authorization"].endswith(f"Signature={signature}")


def test_a_session_token_is_sent_and_signed() -> None:
    session = Credentials("AKID", "secret", "the-token")
    signed = signed_headers("GET", "/", "", {}, session, region="r", now=DOCS_TIME)
    assert signed["x-amz-security-token"] == "the-token"
    assert "x-amz-security-token" in signed["Authorization"]


def test_keys_are_encoded_once() -> None:
    assert encode_path("a b/c%20d+é") == "a%20b/c%2520d%2B%C3%A9"


def test_nothing_secret_is_shown() -> None:
    shown = repr(Credentials("AKID", "the-secret", "the-token"))
    assert "the-secret" not in shown
    assert "the-token" not in shown
