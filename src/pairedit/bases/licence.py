"""Own the licences of base models: what people have to know before they share a slider.

They were read on the models' own pages in November 2026. A page may say something else today, so
everything that names a licence links to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

HUB = "https://huggingface.co/"


@dataclass(frozen=True, kw_only=True)
class Licence:
    """Hold one licence."""

    label: str  # the model hub's word for it; `other` needs name and link
    title: str
    link: str
    name: str = ""  # that the hub shows for `other`
    notice: str = ""  # must go along with everything that is based on the model

    @property
    def free(self) -> bool:
        """Say whether it allows commercial use."""
        return self.label != "other"


def _black_forest(what: str, title: str) -> str:
    """Return the notice that Black Forest Labs asks for."""
    return (
        f"The {what} Model is licensed by Black Forest Labs Inc. under the {title}. Copyright "
        "Black Forest Labs Inc. IN NO EVENT SHALL BLACK FOREST LABS INC. BE LIABLE FOR ANY CLAIM, "
        "DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING "
        "FROM, OUT OF OR IN CONNECTION WITH USE OF THIS MODEL."
    )


_DEV = "FLUX.1 [dev] Non-Commercial License"
_FLUX = "FLUX Non-Commercial License"
APACHE = Licence(
    label="apache-2.0",
    title="Apache License 2.0",
    link="https://www.apache.org/licenses/LICENSE-2.0",
)
FLUX1_DEV = Licence(
    label="other",
    name="flux-1-dev-non-commercial-license",
    title=_DEV,
    link=f"{HUB}black-forest-labs/FLUX.1-dev/blob/main/LICENSE.md",
    notice=_black_forest("FLUX.1 [dev]", _DEV),
)
FLUX1_KREA = replace(FLUX1_DEV, link=f"{HUB}black-forest-labs/FLUX.1-Krea-dev/blob/main/LICENSE.md")
FLUX2_KLEIN_9B = Licence(
    label="other",
    name="flux-non-commercial-license",
    title=_FLUX,
    link=f"{HUB}black-forest-labs/FLUX.2-klein-base-9B/blob/main/LICENSE.md",
    notice=_black_forest("FLUX", _FLUX),
)
