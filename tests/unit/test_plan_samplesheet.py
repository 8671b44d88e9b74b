import pytest

from linumpy.plan.errors import InputError
from linumpy.plan.samplesheet import read_samplesheet, read_sections


@pytest.fixture
def sheet(tmp_path):
    def write(text):
        path = tmp_path / "samplesheet.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def test_rows_are_read_and_empty_cells_are_not_given(sheet):
    rows, faults = read_samplesheet(
        sheet(
            "acquisition,image,n_sections,sections,mask,channel,timepoint\n\na,x.zarr,3,,,,\nb.1,y.zarr,,s.csv,m.zarr,DAPI,2\n"
        )
    )
    assert not faults
    first, second = rows
    assert (first.line, first.acquisition, first.n_sections, first.sections, first.mask) == (
        3,
        "a",
        3,
        None,
        None,
    )
    assert (second.sections, second.mask, second.channel, second.timepoint) == ("s.csv", "m.zarr", "DAPI", 2)


def test_byte_order_mark_quotes_and_spaces(sheet):
    rows, faults = read_samplesheet(sheet('﻿acquisition, image ,n_sections\r\na,"x, y.zarr", 3 \r\n'))
    assert not faults
    assert rows[0].image == "x, y.zarr"
    assert rows[0].n_sections == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acquisition;image;n_sections\na;x.zarr;3\n", "separated by semicolons; separate them by commas"),
        ('"acquisition";"image";"n_sections"\n"a";"x, y.zarr";"3"\n', "separated by semicolons"),
        ("acquisition\timage\tn_sections\na\tx.zarr\t3\n", "separated by tabs"),
        ('"acquisition,image,n_sections"\n"a,x.zarr,3"\n', "separated by commas inside quotes"),
        ("sep=;\nacquisition;image;n_sections\na;x.zarr;3\n", "first line is sep=;; remove it"),
        ("sep=,\nacquisition,image,n_sections\na,x.zarr,3\n", "first line is sep=,"),
        ("acquisition,image,n_sections\na,x.zarr,3\n".encode("utf-16"), "UTF-16"),
        ("acquisition,image,n_sections\na,x.zarr,3\n".encode("utf-16-be"), "UTF-16"),
        ("acquisition,image,n_sections\né,x.zarr,3\n".encode("latin-1"), "not a CSV file in UTF-8"),
    ],
)
def test_another_form_of_csv_is_one_fault(sheet, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_samplesheet(sheet(text))
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize("name", ["pipeline_info", "index.html", "RO-Crate-Metadata.json"])
def test_names_of_what_is_published_beside_acquisitions_are_reserved(sheet, name):
    _, (fault,) = read_samplesheet(sheet(f"acquisition,image,n_sections\n{name},x,1\n"))
    assert f"acquisition {name!r} cannot name a folder" in fault


def test_sections_file(tmp_path):
    path = tmp_path / "sections.csv"
    path.write_text("z_start,z_stop\n0,4\n4,10\n")
    assert read_sections(path) == [(0, 4), (4, 10)]
