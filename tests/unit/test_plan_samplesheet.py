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
        ("", "is empty"),
        ("acquisition,image,n_sections\n", "no rows"),
        ("acquisition,image,n_section\na,x,1\n", "unknown column 'n_section'; did you mean n_sections"),
        ("acquisition,image,image,n_sections\na,x,x,1\n", "column image stands 2 times"),
        ("image,n_sections\nx,1\n", "column acquisition is missing"),
        ("acquisition,image\na,x\n", "n_sections .* or sections"),
        (b"acquisition,image,n_sections\n\xff\xfe,x,1\n", "UTF-8"),
    ],
)
def test_a_header_that_cannot_be_read_stops(sheet, text, message):
    with pytest.raises(InputError, match=message):
        read_samplesheet(sheet(text))


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


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a b,x,1,,", "acquisition 'a b' cannot name a folder"),
        ("../a,x,1,,", "acquisition '../a' cannot name a folder"),
        (".hidden,x,1,,", "cannot name a folder"),
        ("pipeline_info,x,1,,", "cannot name a folder"),
        ("index.html,x,1,,", "cannot name a folder"),
        ("RO-Crate-Metadata.json,x,1,,", "cannot name a folder"),
        (",x,1,,", "no name.*cannot name a folder"),
        ("a,,1,,", "image is empty"),
        ("a,x,,,", "neither n_sections nor sections is given"),
        ("a,x,1,s.csv,", "both n_sections and sections are given"),
        ("a,x,0,,", "n_sections '0' is refused; give a whole number, 1 or more"),
        ("a,x,2.5,,", "n_sections '2.5' is refused"),
        ("a,x,1,,-1", "timepoint '-1' is refused"),
        ("a,x,1,,,,,", "8 cells, the header has 5 columns"),
    ],
)
def test_faults_name_line_column_and_value(sheet, row, message):
    rows, faults = read_samplesheet(sheet(f"acquisition,image,n_sections,sections,timepoint\n{row}\nok,x,1,,\n"))
    assert [r.acquisition for r in rows] == ["ok"]
    (fault,) = faults
    assert fault.startswith("samplesheet line 2")
    with pytest.raises(ValueError, match=message):
        raise ValueError(fault)


def test_names_that_differ_in_case_only_are_duplicates(sheet):
    _, faults = read_samplesheet(sheet("acquisition,image,n_sections\nbrain,x,1\nBrain,y,1\n"))
    assert faults == [
        "samplesheet lines 2, 3: acquisition 'brain' stands more than once; "
        "give each its own name (case does not count)"
    ]


def test_sections_file(tmp_path):
    path = tmp_path / "sections.csv"
    path.write_text("z_start,z_stop\n0,4\n4,10\n")
    assert read_sections(path) == [(0, 4), (4, 10)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("start,stop\n0,4\n", "first line must be z_start,z_stop, found start,stop"),
        ("z_start,z_stop\n0,four\n", "line 2: '0,four' is not two whole numbers"),
        ("z_start,z_stop\n0,4,5\n", "line 2"),
        ("z_start,z_stop\n", "no sections below the header"),
    ],
)
def test_sections_file_faults(tmp_path, text, message):
    path = tmp_path / "sections.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_sections(path)
