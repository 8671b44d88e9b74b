// The way of one acquisition: mask and samples, a fit per section, a fit of the stack, correction slab by slab, one image.

include { TISSUE_MASK  } from '../modules/tissue_mask/main'
include { N4_SECTION   } from '../modules/n4_section/main'
include { N4_GLOBAL    } from '../modules/n4_global/main'
include { MATCH_BATCH  } from '../modules/match_batch/main'
include { CORRECT      } from '../modules/correct/main'
include { ASSEMBLE     } from '../modules/assemble/main'
include { REPORT       } from '../modules/report/main'
include { BATCH_REPORT } from '../modules/batch_report/main'
include { asFile       } from './files'

// All parts of each acquisition, in order; an acquisition that lacks one (its task failed) is left out.
def gathered(parts) {
    return parts
        .map { id, count, part -> [groupKey(id, count), part] }
        .groupTuple()
        .map { key, files -> [key.target, files.sort { file -> file.name }] }
}

workflow BIAS_CORRECTION {
    take:
    acquisitions // plan of each acquisition, as linumpy.plan.acquisition writes it

    main:
    images = acquisitions.map { plan -> [plan.id, asFile(plan.image)] }
    given_masks = acquisitions.map { plan -> [plan.id, plan.mask ? asFile(plan.mask) : []] }

    TISSUE_MASK(
        acquisitions.map { plan -> [plan.id, plan.tissue_mask] }.join(images).join(given_masks)
    )

    N4_SECTION(
        acquisitions
            .flatMap { plan -> plan.n4_section.collect { settings -> [plan.id, settings] } }
            .combine(TISSUE_MASK.out.samples, by: 0)
    )
    section_fits = gathered(N4_SECTION.out.fits)
        .mix(acquisitions.filter { plan -> !plan.n4_section }.map { plan -> [plan.id, []] })

    N4_GLOBAL(
        acquisitions.map { plan -> [plan.id, plan.n4_global] }.join(TISSUE_MASK.out.samples).join(section_fits)
    )

    // Sorted, since fits end in any order: equal levels are the same task. One that failed is left out and named.
    planned = acquisitions.map { plan -> plan.id }.toSortedList().filter { ids -> ids }
    MATCH_BATCH(
        planned,
        N4_GLOBAL.out.level.map { _id, level -> level }.toSortedList { a, b -> a.name <=> b.name }.filter { levels -> levels }
    )
    matches = MATCH_BATCH.out.matches
        .flatten()
        .map { match -> [match.parent.parent.name, match] }
        .mix(acquisitions.filter { plan -> !plan.n4_global.match_batch }.map { plan -> [plan.id, []] })
    bias = N4_GLOBAL.out.bias.join(matches)

    CORRECT(
        acquisitions
            .flatMap { plan -> plan.correct.collect { settings -> [plan.id, settings] } }
            .combine(images.join(TISSUE_MASK.out.mask).join(bias), by: 0)
    )
    slabs = gathered(CORRECT.out.slab)

    ASSEMBLE(
        acquisitions.map { plan -> [plan.id, plan.assemble] }.join(images).join(slabs)
    )

    REPORT(
        acquisitions
            .map { plan -> [plan.id, plan.report] }
            .join(TISSUE_MASK.out.samples)
            .join(TISSUE_MASK.out.statistics)
            .join(bias)
            .join(ASSEMBLE.out.statistics)
    )

    finished = REPORT.out.metrics.toSortedList { a, b -> a[0] <=> b[0] }
    BATCH_REPORT(planned, finished.map { metrics -> metrics.collect { _id, file -> file } })
    unfinished = planned
        .map { ids -> [ids] }
        .combine(finished.map { metrics -> [metrics.collect { id, _file -> id }] })
        .map { asked, done -> asked - done }
    digests = REPORT.out.digests
    page = BATCH_REPORT.out.report
    // The folders with all results of an acquisition, which are to be published together.
    results = TISSUE_MASK.out.mask
        .join(bias)
        .join(ASSEMBLE.out.corrected)
        .join(REPORT.out.report)
        .map { id, mask, field, match, corrected, report ->
            [id, [mask, field, corrected, report].collect { path -> path.parent } + (match ? [match.parent.parent] : [])]
        }

    emit:
    unfinished
    digests
    page
    results
}
