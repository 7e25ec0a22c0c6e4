"""What the AWS environment variables and shared files say about region, end point and profile."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hardtack.core.errors import ConfigError


@dataclass(frozen=True)
class Files:
    """The shared files: where they are, and a mark that changes when one of them does."""

    config: Path
    credentials: Path

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Files:
        home = Path(env.get("HOME") or os.path.expanduser("~")) / ".aws"
        return cls(
            Path(env.get("AWS_CONFIG_FILE") or home / "config").expanduser(),
            Path(env.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials").expanduser(),
        )

    def mark(self, *others: str) -> tuple[object, ...]:
        """Identity, size and time of both files and of `others`."""
        return (_stamp(self.config), _stamp(self.credentials), *map(_stamp, others))


def _stamp(path: Path | str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Profile:
    """A profile's settings: `keys` from the credentials file, `settings` from the config file."""

    name: str
    exists: bool
    keys: Mapping[str, str]
    settings: Mapping[str, str]
    services: Mapping[str, str]

    def get(self, name: str) -> str | None:
        return self.keys.get(name) or self.settings.get(name)

    def nested(self, section: str, name: str) -> str | None:
        """`name` of an indented `section =` block of the config file."""
        return _block(self.settings.get(section, "")).get(name)

    @property
    def endpoint_url(self) -> str | None:
        service = _block(self.services.get("s3", "")).get("endpoint_url")
        return service or self.settings.get("endpoint_url")


def read_profile(files: Files, name: str) -> Profile:
    """The profile `name`; empty when neither file has it. Raises ConfigError."""
    config, credentials = _parse(files.config), _parse(files.credentials)
    wanted = [f"profile {name}"] if name != "default" else ["profile default", "default"]
    section = next((s for s in wanted if config.has_section(s)), None)
    settings = dict(config[section]) if section else {}
    services = f"services {settings.get('services', '')}"
    has_keys = credentials.has_section(name)
    return Profile(
        name=name,
        exists=section is not None or has_keys,
        keys=dict(credentials[name]) if has_keys else {},
        settings=settings,
        services=dict(config[services]) if config.has_section(services) else {},
    )


def _parse(path: Path) -> configparser.ConfigParser:
    # no interpolation: secrets may hold `%`; `default_section` so that [default] is like any other
    parser = configparser.ConfigParser(interpolation=None, default_section=" none ", strict=False)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return parser
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}.") from error
    except (configparser.Error, UnicodeDecodeError) as error:
        # the parser's own message quotes the line, which may be a secret
        line = getattr(error, "lineno", None)
        where = f" at line {line}" if line else ""
        raise ConfigError(f"{path} is not an INI file{where}.", remedy="Repair it.") from None
    return parser


def _block(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def profile_name(explicit: str | None, env: Mapping[str, str]) -> str:
    """The profile that counts: the option's, AWS_PROFILE's, or `default`."""
    return explicit or env.get("AWS_PROFILE") or env.get("AWS_DEFAULT_PROFILE") or "default"


def region(explicit: str | None, env: Mapping[str, str], profile: Profile) -> str:
    """Option, AWS_REGION, AWS_DEFAULT_REGION, profile, us-east-1."""
    found = explicit or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    return found or profile.get("region") or "us-east-1"


def endpoint_url(explicit: str | None, env: Mapping[str, str], profile: Profile) -> str | None:
    """Option, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, profile; None: Amazon's own."""
    ignored = env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
    if explicit or ignored:
        return explicit
    found = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    return found or profile.endpoint_url


def ca_bundle(explicit: str | None, env: Mapping[str, str], profile: Profile) -> str | None:
    """Option, AWS_CA_BUNDLE, profile; None: the system's authorities."""
    return explicit or env.get("AWS_CA_BUNDLE") or profile.get("ca_bundle")
