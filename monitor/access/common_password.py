"""Words common in Malaysian passwords, most used first. zxcvbn's own lists contain no Malay.

Written by hand: words for secrets and sign-ins, greetings, affection, country and office, names, teams and food.
"""

from __future__ import annotations

from typing import Final

_WORD_LIST: Final = """
katalaluan rahsia sayang malaysia kata laluan abc123 cinta selamat merdeka pagi kerajaan jabatan kementerian emel
selamatpagi putrajaya kualalumpur masuk logmasuk malaysiamerdeka merdekamalaysia rahsiakerajaan kerajaanmalaysia
pengguna pentadbir pejabat admin aku saya awak kamu kita jangan lupa janganlupa rahsiaku akusayangkamu sayangku
sayangsayang cintaku iloveyou sayangawak akucintakamu malaysiaku malaysiaboleh boleh bolehkah negara negaraku
jalurgemilang bendera tanah airku tanahairku merdekamerdeka ogos februari mac mei jun julai september oktober
november disember januari isnin selasa rabu khamis jumaat sabtu ahad hari bulan tahun baru baharu tahunbaru
selamattahunbaru hariraya selamathariraya raya aidilfitri ramadan ramadhan syawal deepavali gongxifacai
tahunbarucina assalamualaikum salam bismillah alhamdulillah allah allahuakbar insyaallah muhammad islam syukur doa
ibu bapa ayah emak mak abah papa mama anak adik kakak abang nenek datuk atuk suami isteri keluarga keluargaku ahmad
ali abu siti fatimah aminah nur nurul mohd mohamad muhamad ibrahim ismail hassan hussein osman zainal aziz rahman
karim salleh yusof razak azman azlan faizal hafiz amir syafiq aisyah farah nadia sarah zulkifli rosli johor kedah
kelantan melaka negerisembilan pahang pulaupinang penang perak perlis sabah sarawak selangor terengganu labuan kl jb
kuching kotakinabalu ipoh shahalam cyberjaya georgetown seremban kuantan alorsetar kotabharu klang harimau
harimaumalaya malaya kucing anjing gajah burung ikan ayam kancil naga singa kuda arnab rama bunga bungaraya mawar
melur cempaka orkid pokok langit laut bumi bintang matahari hujan angin api air gunung pulau pantai nasi nasilemak
lemak roti canai roticanai teh tehtarik tarik kopi milo durian rambutan mangga pisang kelapa sambal rendang satay
sate laksa mee goreng nasigoreng ayamgoreng kuih makan minum tidur kerja rumah rumahku kereta motor proton perodua
myvi saga wira waja bas sekolah universiti pelajar cikgu guru doktor polis bomba tentera bolasepak bola badminton
sukan juara menang kalah hebat terbaik cantik comel manis baik jahat gembira bahagia senang susah sedih
rindu kasih kasihku kekasih hati hatiku jiwa jiwaku nyawa nyawaku hidup mati maut ketuapengarah pengarah setiausaha
ketua pegawai kakitangan kerani penolong timbalan menteri perdanamenteri perdana daulattuanku rukunnegara
satumalaysia malaysiamadani madani berkhidmat khidmat berkhidmatuntuknegara untuk kami sistem server pelayan
rangkaian komputer internet peti mel petimel surat faks telefon aplikasi portal akaun nombor satu dua tiga empat
lima enam tujuh lapan sembilan sepuluh sifar satuduatiga satuduatigaempatlima kosong tukar tukarkatalaluan ubah
ubahsaya tukarsaya sementara lalai ujian cuba cubaan contoh test demo percubaan apakhabar terimakasih terima tolong
maaf selamatdatang datang selamattinggal selamatmalam malam petang tengahari tidakada tiada takada betul salah buka
tutup kunci dunia akhirat jabatankerajaan kementeriankerajaan sayangmalaysia terimakasihsemua negarakutanahtumpah
tanahtumpahnyadarahku negarakutanahtumpahnyadarahku
"""

#: In lower case. Phrases that people write as one word ("tehtarik") are listed as one word.
COMMON_WORDS: Final[tuple[str, ...]] = tuple(_WORD_LIST.split())
