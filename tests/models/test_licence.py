import pytest
from samples import backbone_folder

from orbitune.models.backbones import find_backbone
from orbitune.models.files.licence import read_licence
from orbitune.models.metadata import BackboneRecord


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags:\n- vision\n---\n# Model\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: dinov3-license\n---\n", "dinov3-license"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
        ("---\ntags:\n- vision\n---\n", ""),
        ("# A model\n\n---\nlicense: mit\n---\n", ""),
        ("---\nlicense: [mit\n---\n", None),
        ("---\n? [a]\n: 1\n---\n", None),
        ("\ufeff---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: mit\n---", "mit"),
        ("---\r\nlicense: mit\r\n---\r\n# Model\r\n", "mit"),
        ("---\ntitle: a---\nlicense: mit\n---\n", "mit"),
    ],
)
def test_the_licence_is_what_the_front_matter_of_the_card_states(tmp_path, card, licence):
    (tmp_path / "README.md").write_bytes(card.encode())
    assert read_licence(tmp_path) == licence


def test_a_record_says_the_licence_or_that_none_is_stated(tmp_path):
    folder = backbone_folder(tmp_path / "b")
    unknown = "ViT checkpoint b (licence: unknown)"
    assert find_backbone(str(folder)).record.summary == unknown
    (folder / "README.md").write_text("# A model\n")
    assert find_backbone(str(folder)).record.summary == "ViT checkpoint b (licence: its card states none)"
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    record = find_backbone(str(folder)).record
    assert record.summary == "ViT checkpoint b (licence: mit)"
    before = BackboneRecord.model_validate(record.model_dump(exclude={"licence"}))
    assert before.summary == unknown
